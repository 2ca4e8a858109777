"""The targets for Ascend: what is built here, what the locks hold, and the whole of it under emulation."""

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.version import Version

from tests.builds.ascend.stand_in import install
from tests.conftest import ROOT, Built, Nix, emulated
from vllm_nix.locks.pylock import read_lock
from vllm_nix.verification import Status, verify
from vllm_nix.verification.cann import WITHOUT

AARCH64 = (
    'with import ./nix/debian {{ system = "aarch64-linux"; overlays = [ (import ./overlays) ]; }};'
    " vllmPackages.{}"
)
PACKAGES = "with import ./nix/debian { overlays = [ (import ./overlays) ]; }; vllmPackages"


@pytest.mark.nix
def test_the_plugin_is_python_alone_and_registers_its_platform(nix: Nix) -> None:
    with zipfile.ZipFile(nix.build(f"{PACKAGES}.ascend.vllm-ascend-plugin")) as wheel:
        info = "vllm_ascend-0.7.3.post1.dist-info"
        entry_points = wheel.read(f"{info}/entry_points.txt").decode()
        metadata = HeaderParser().parsestr(wheel.read(f"{info}/METADATA").decode())
        assert not [name for name in wheel.namelist() if Path(name).suffix == ".so"]
    assert "[vllm.platform_plugins]\nascend = vllm_ascend:register\n" in entry_points
    assert "torch-npu==2.5.1" in metadata.get_all("Requires-Dist", [])


@pytest.mark.nix
def test_a_lock_reads_what_is_made_here(nix: Nix) -> None:
    built = nix.build(f"{PACKAGES}.ascend.built")
    assert sorted(path.name for path in built.iterdir()) == [
        "fire-0.7.0-py3-none-any.whl",
        "rouge_score-0.1.2-py3-none-any.whl",
        "vllm-0.7.3+empty-py3-none-any.whl",
        "vllm_ascend-0.7.3.post1-py3-none-any.whl",
    ]


@emulated
@pytest.mark.nix
def test_triton_for_ascend_is_asked_for(nix: Nix) -> None:
    """The registry ends before the release that vllm-ascend 0.23 requires."""
    file = "triton_ascend-3.2.2-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl"
    result = nix(
        *("nix-build", "--no-out-link", "--option", "extra-platforms", "aarch64-linux"),
        *("--expr", AARCH64.format("ascend_0_23.triton-ascend")),
        check=False,
    )
    assert (
        f"{file} of Triton for Ascend is Huawei's to hand out, and has no published hash: download it"
        " from https://mirrors.huaweicloud.com/ascend/repos/pypi/triton-ascend/, write its sha256sum into"
        " pkgs/triton-ascend/files.toml, then run: vllm-nix fetch ascend_0_23 --system aarch64-linux --from FOLDER"
    ) in result.stderr


@pytest.mark.nix
@pytest.mark.parametrize(
    ("target", "system"),
    [
        ("ascend", "aarch64-linux"),
        ("ascend", "x86_64-linux"),
        ("ascend_0_18", "aarch64-linux"),
        ("ascend_0_18", "x86_64-linux"),
        ("ascend_0_23", "aarch64-linux"),
    ],
)
def test_it_is_instantiated(nix: Nix, target: str, system: str) -> None:
    result = nix(
        "nix-instantiate",
        "--expr",
        f'with import ./nix/debian {{ system = "{system}"; overlays = [ (import ./overlays) ]; }};'
        f" vllmPackages.vllm-{target}",
    )
    assert result.stdout.strip().endswith(f"-vllm-{target}.drv")


@pytest.mark.parametrize(
    ("target", "torch", "system"),
    [
        ("ascend", "2.5.1", "aarch64-linux"),
        ("ascend", "2.5.1", "x86_64-linux"),
        ("ascend_0_18", "2.9.0", "aarch64-linux"),
        ("ascend_0_18", "2.9.0", "x86_64-linux"),
        ("ascend_0_23", "2.10.0", "aarch64-linux"),
    ],
)
def test_a_lock_has_nothing_of_cuda(target: str, torch: str, system: str) -> None:
    lock = read_lock(ROOT / f"nix/targets/{target}/pylock.{system}.toml")
    versions = {wheel.name: wheel.version for wheel in lock.wheels}
    assert versions["torch"] == (torch if system == "aarch64-linux" else f"{torch}+cpu")
    assert Version(versions["torch-npu"]).base_version == torch
    assert not [
        name for name in versions if name.startswith(("nvidia-", "cuda")) or name == "triton"
    ]
    assert "vllm" not in versions, "it is built here"


def check_without_cann(environment: Built) -> None:
    """What there is to see of vLLM and its plugin on a machine that has neither CANN nor an NPU."""
    assert environment("vllm", "--version", **WITHOUT).stdout.splitlines()[-1:] == ["0.7.3"]
    refused = environment("vllm", "--version")
    assert refused.returncode == 3
    assert "vllm-ascend: this machine lacks parts of CANN: the toolkit 8.1.RC1" in refused.stderr
    versions = (
        "import importlib.metadata as m, json; "
        "print(json.dumps([m.version(n) for n in ('vllm', 'vllm-ascend', 'torch-npu')]))"
    )
    found = json.loads(environment("python", "-c", versions, **WITHOUT).stdout)
    assert found == ["0.7.3+empty", "0.7.3.post1", "2.5.1"]
    plugin = "import vllm_ascend; print(vllm_ascend.register())"
    platform = environment("python", "-c", plugin, **WITHOUT).stdout
    assert platform.strip() == "vllm_ascend.platform.NPUPlatform"
    imported = environment("python", "-c", "import vllm; print(vllm.__version__)", **WITHOUT)
    assert imported.stdout.splitlines()[-1:] == ["0.7.3"], imported.stderr
    shown = environment("python", "-m", "pip", "show", "vllm", **WITHOUT).stdout
    assert "Version: 0.7.3+empty\n" in shown


def failed(environment: Built) -> list[str]:
    """The checks of verify that fail."""
    report = verify(environment.path, limit=1200)
    return [result.id for result in report.results if result.status == Status.FAILED]


@emulated
@pytest.mark.nix
@pytest.mark.slow
def test_the_whole_of_it_on_aarch64(nix: Nix) -> None:
    """Needs `vllm-nix fetch --system aarch64-linux ascend`."""
    base = 'import ./nix/debian { system = "aarch64-linux"; overlays = [ (import ./overlays) ]; }'
    built = nix(
        *("nix-build", "--no-out-link", "--option", "extra-platforms", "aarch64-linux"),
        *("--expr", f"({base}).vllmPackages.vllm-ascend"),
    )
    environment = Built(Path(built.stdout.strip()), Path.home())
    check_without_cann(environment)
    assert failed(environment) == ["platform-plugin"], "CANN is not there, and no more"


@emulated
@pytest.mark.nix
@pytest.mark.slow
def test_the_newest_on_aarch64_but_for_triton(nix: Nix) -> None:
    """Needs `vllm-nix fetch --system aarch64-linux ascend_0_23`; Triton for Ascend is in no registry."""
    scope = AARCH64.format("ascend_0_23")
    built = nix(
        *("nix-build", "--no-out-link", "--option", "extra-platforms", "aarch64-linux"),
        "--expr",
        f"""({scope}.overrideScope (_: scope: {{
          components = builtins.filter (wheel: wheel.name != "triton-ascend") scope.components;
        }})).vllm-ascend_0_23""",
    )
    environment = Built(Path(built.stdout.strip()), Path.home())
    versions = "import importlib.metadata as m; print(m.version('vllm'), m.version('torch-npu'))"
    found = environment("python", "-c", versions, **WITHOUT).stdout
    assert found == "0.23.0+empty 2.10.0.post4\n"
    plugin = "import vllm_ascend; print(vllm_ascend.register())"
    platform = environment("python", "-c", plugin, **WITHOUT).stdout
    assert platform.strip() == "vllm_ascend.platform.NPUPlatform"
    refused = environment("vllm", "--version")
    assert refused.returncode == 3
    assert "vllm-ascend_0_23: this machine lacks parts of CANN: the toolkit 9.1.0" in refused.stderr
    assert failed(environment) == ["platform-plugin"]


@pytest.fixture(scope="module")
def on_x86_64(nix: Nix) -> Built:
    """Needs the wheels of verl_0_7_3, and those of `ascend` but for torch (docs/ascend.md, x86_64)."""
    if os.uname().machine != "x86_64":
        pytest.skip("not an x86_64")
    return Built(nix.build("import ./tests/builds/ascend/x86_64.nix"), Path.home())


@pytest.mark.nix
@pytest.mark.slow
def test_the_whole_of_it_on_x86_64_but_for_torch(on_x86_64: Built) -> None:
    check_without_cann(on_x86_64)
    assert failed(on_x86_64) == ["platform-plugin", "torch-build"], "CANN, and NVIDIA's torch"


@pytest.mark.nix
@pytest.mark.slow
def test_with_cann_in_the_users_home(
    on_x86_64: Built,
    compile_library: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch_npu's own libraries bind to a CANN that answers "no devices": all but the NPU's own work."""
    npu = on_x86_64.path / "lib/python3.11/site-packages/torch_npu"
    install(tmp_path / "home/Ascend", npu.resolve().rglob("*.so"), compile_library)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # verify's
    with_cann = replace(on_x86_64, home=tmp_path / "home")
    code = (
        "import torch; from vllm.platforms import current_platform;"
        "print(torch.npu.device_count(), type(current_platform).__module__)"
    )
    result = with_cann("python", "-c", code, VLLM_LOGGING_LEVEL="ERROR")
    assert result.stdout.splitlines()[-1:] == ["0 vllm_ascend.platform"], result.stderr
    served = with_cann("vllm", "serve", "--help")
    assert "--tensor-parallel-size" in served.stdout, served.stderr
    assert failed(on_x86_64) == ["torch-build"], "NVIDIA's torch"
