"""The targets of public CUDA wheels: what can be known of them without a GPU.

Needs `vllm-nix fetch cuda` and `vllm-nix fetch --system aarch64-linux jetson_7`, 4 GB each.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import EMBEDDED, ROOT, Nix, said
from vllm_nix.gpu.fatbin import is_candidate
from vllm_nix.locks.pylock import read_lock
from vllm_nix.store import fixed_path, store_name

pytestmark = [pytest.mark.nix, pytest.mark.slow]


@pytest.fixture(scope="module")
def environment(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    link = tmp_path_factory.mktemp("build") / "result"
    nix("nix", "build", ".#vllm-cuda", "--out-link", str(link), *EMBEDDED)
    return link


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "vllm_nix", *arguments]
    return subprocess.run(words, check=False, capture_output=True, text=True)


def test_every_library_is_usable_on_an_a6000(environment: Path) -> None:
    result = command("verify", environment, "--json", "--timeout", "600")
    checks = {check["id"]: check for check in json.loads(result.stdout)["checks"]}
    bad = [check for check in checks.values() if check["status"] in ("failed", "warning")]
    assert bad == []
    for name in ("gpu-code", "ptx", "attention", "elf", "torch-abi", "imports", "nccl"):
        assert checks[name]["status"] == "ok", name


def test_kernels_are_compiled_with_the_wheels_own_toolkit(
    environment: Path, tmp_path: Path
) -> None:
    """FlashInfer compiles one of its modules for 8.6; no tool of the host's CUDA is on the path."""
    code = (
        "from flashinfer.jit.quantization import gen_quantization_module as module; "
        "spec = module(); spec.build(verbose=False); print(spec.get_library_path())"
    )
    variables = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "FLASHINFER_CUDA_ARCH_LIST": "8.6"}
    python = environment / "bin/python"
    result = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, env=variables
    )
    [library] = json.loads(command("archs", "--json", result.stdout.split()[-1]).stdout)[
        "libraries"
    ]
    assert {(code["kind"], code["arch"]) for code in library["code"]} == {("cubin", "sm_86")}


def test_every_library_is_read_the_same_in_c(environment: Path, nix: Nix) -> None:
    base = "import ./nix/debian { overlays = [ (import ./overlays) ]; }"
    program = nix.build(f"({base}).vllmPackages.vllm-nix") / "bin/vllm-nix"
    [site] = environment.glob("lib/python3*/site-packages")
    files = {path.resolve() for path in site.rglob("*") if path.is_file()}
    libraries = sorted(path for path in files if ".so" in path.name and is_candidate(path))
    assert libraries
    for library in libraries:
        # With this, no Python starts.
        assert (
            said(program, "archs", library, env={"PYTHONHOME": "/nowhere"})
            == command("archs", library).stdout
        )


@pytest.fixture(scope="module")
def orin_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jetson_7")
    lock = read_lock(ROOT / "nix/targets/jetson_7/pylock.aarch64-linux.toml")
    for wheel in lock.wheels:
        if wheel.name in ("torch", "vllm", "nvidia-nccl-cu13"):
            with zipfile.ZipFile(fixed_path(store_name(wheel.file), wheel.sha256)) as archive:
                names = [name for name in archive.namelist() if ".so" in Path(name).name]
                archive.extractall(folder, names)
    return folder


@pytest.mark.parametrize(("jetpack", "status"), [("7.2", 0), ("6.2", 1)])
def test_the_wheels_run_on_orin_from_jetpack_7_2(
    orin_libraries: Path, jetpack: str, status: int
) -> None:
    result = command("archs", orin_libraries, "--for", "orin", "--jetpack", jetpack)
    assert result.returncode == status, result.stdout
