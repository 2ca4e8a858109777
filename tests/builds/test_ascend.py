"""The targets for Ascend: what is made here, what the locks hold, and the whole of it under emulation."""

import json
import os
import subprocess
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.conftest import ROOT, Nix
from vllm_nix.pylock import read_lock
from vllm_nix.verification.cann import WITHOUT

PACKAGES = "with import ./nix/debian { overlays = [ (import ./overlays) ]; }; vllmPackages"
emulated = pytest.mark.skipif(
    os.uname().machine != "aarch64" and not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists(),
    reason="no emulation of aarch64 (qemu-user-static, binfmt_misc)",
)


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


@pytest.mark.nix
@pytest.mark.parametrize("system", ["aarch64-linux", "x86_64-linux"])
@pytest.mark.parametrize("target", ["ascend", "ascend18"])
def test_it_is_instantiated(nix: Nix, target: str, system: str) -> None:
    result = nix(
        "nix-instantiate",
        "--expr",
        f'with import ./nix/debian {{ system = "{system}"; overlays = [ (import ./overlays) ]; }};'
        f" vllmPackages.vllm-{target}",
    )
    assert result.stdout.strip().endswith(f"-vllm-{target}.drv")


@pytest.mark.parametrize("system", ["aarch64-linux", "x86_64-linux"])
@pytest.mark.parametrize(("target", "torch"), [("ascend", "2.5.1"), ("ascend18", "2.9.0")])
def test_a_lock_has_nothing_of_cuda(target: str, torch: str, system: str) -> None:
    lock = read_lock(ROOT / f"nix/targets/{target}/pylock.{system}.toml")
    versions = {wheel.name: wheel.version for wheel in lock.wheels}
    assert versions["torch"] == (torch if system == "aarch64-linux" else f"{torch}+cpu")
    assert versions["torch-npu"] == torch
    assert not [
        name for name in versions if name.startswith(("nvidia-", "cuda")) or name == "triton"
    ]
    assert "vllm" not in versions, "it is made here"


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
    environment = Path(built.stdout.strip())

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(environment / "bin" / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            env={"HOME": os.environ["HOME"], **variables},
        )

    assert "0.7.3" in run("vllm", "--version", **WITHOUT).stdout
    refused = run("vllm", "--version")
    assert refused.returncode == 3
    assert "vllm-ascend: this machine lacks parts of CANN: the toolkit 8.1.RC1" in refused.stderr
    versions = (
        "import importlib.metadata as m, json; "
        "print(json.dumps([m.version(n) for n in ('vllm', 'vllm-ascend', 'torch-npu')]))"
    )
    found = json.loads(run("python", "-c", versions, **WITHOUT).stdout)
    assert found == ["0.7.3+empty", "0.7.3.post1", "2.5.1"]
    plugin = "import vllm_ascend; print(vllm_ascend.register())"
    platform = run("python", "-c", plugin, **WITHOUT).stdout
    assert platform.strip() == "vllm_ascend.platform.NPUPlatform"
