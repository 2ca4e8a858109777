"""What a torch that was just built is asked (pkgs/torch/check.py), of torches that are known."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, Nix

pytestmark = pytest.mark.nix


def check(environment: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [environment / "bin/python", ROOT / "pkgs/torch/check.py", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def cpu(nix: Nix) -> Path:
    return nix.build(
        "(import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages.vllm-cpu"
    )


def test_a_torch_that_is_what_was_asked_for(cpu: Path) -> None:
    result = check(cpu, "--version=2.13.0+cpu", "--distributed=gloo")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_torch_for_the_cpu_is_not_orins(cpu: Path) -> None:
    result = check(
        cpu,
        "--version=2.5.1",
        "--distributed=gloo,nccl",
        "--archs=sm_87",
        "--nccl=2.27.7-1",
        "--without-qnnpack",
    )
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "torch: its version is 2.13.0+cpu, not 2.5.1",
        "torch: torch.distributed lacks nccl; set USE_NCCL=1, and see why CMake left it out",
        "torch: it was built without CUDA",
        "torch: it was built without NCCL; set USE_NCCL=1",
        "torch: it was built with QNNPACK; set USE_PYTORCH_QNNPACK=0",
    ]


def test_a_torch_whose_blas_is_wrong(cpu: Path) -> None:
    """As one whose integers have another width: it multiplies a part of the matrices."""
    code = """
import runpy, sys, torch
right = torch.Tensor.__matmul__
torch.Tensor.__matmul__ = lambda a, b: right(a[:, :-1], b[:-1])
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    command = [str(cpu / "bin/python"), "-c", code, str(ROOT / "pkgs/torch/check.py")]
    command += ["--version=2.13.0+cpu", "--distributed=gloo"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "torch: the product of two matrices is wrong; see whether its BLAS takes 32-bit integers"
    ]
