"""Kernels that are there before the first request: FlashInfer loads them, and compiles nothing.

Needs `vllm-nix fetch cuda`, 4 GB; the first time 20 minutes of a processor.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Nix

pytestmark = [pytest.mark.nix, pytest.mark.slow]

MODULES = '[ "sampling" "attention-bf16-128" ]'
SCOPE = "(import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages.cuda"
WITH = f"({SCOPE}.overrideTarget (target: target // {{ kernels.modules = {MODULES}; }}))"
# As vLLM asks (v1/sample/ops/topk_topp_sampler.py, v1/attention/backends/flashinfer.py), and for what is not there.
ASK = """
import os, sys
os.environ |= {"CUDA_HOME": sys.argv[1], "PATH": f"{sys.argv[1]}/bin"}
import torch
from flashinfer.norm import get_norm_module
from flashinfer.prefill import get_batch_prefill_module
from flashinfer.sampling import get_sampling_module
print(get_sampling_module().top_p_sampling_from_probs)
half = torch.bfloat16
arguments = half, half, half, torch.int32, 128, 128, 0, False, False, False
print(get_batch_prefill_module("fa2", *arguments).paged_run)
try:
    get_norm_module()
except RuntimeError as error:
    print(error)
"""


DRIVER = """
int cuInit(unsigned flags) { return 100; }  /* CUDA_ERROR_NO_DEVICE */
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
"""


@pytest.fixture(scope="module")
def environment(nix: Nix) -> Path:
    return nix.build(f"{WITH}.vllm-cuda")


@pytest.fixture
def no_compiler(tmp_path: Path) -> Path:
    """A toolkit whose programs say that they were called."""
    for name in ("nvcc", "ninja"):
        program = tmp_path / "cuda/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} was called\nexit 1\n")
        program.chmod(0o755)
    return tmp_path / "cuda"


def test_flashinfer_loads_them_and_compiles_nothing(
    environment: Path,
    no_compiler: Path,
    compile_library: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    """A driver of CUDA 13 without a device, and FLASHINFER_CUDA_ARCH_LIST, stand for the device."""
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "libcuda.so.1").write_bytes(compile_library(DRIVER, "-Wl,-soname,libcuda.so.1"))
    variables = {
        "FLASHINFER_CUDA_ARCH_LIST": "8.6",
        "HOME": str(tmp_path),
        "LD_LIBRARY_PATH": str(driver),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [str(environment / "bin/python"), "-c", ASK, no_compiler],
        check=False,
        capture_output=True,
        text=True,
        env=variables,
    )
    assert done.returncode == 0, done.stderr
    sampling, attention, *failure = done.stdout.splitlines()
    assert "function" in sampling
    assert "function" in attention
    assert "ninja was called" in failure  # what is not there would be compiled
    compiled = [path for path in tmp_path.rglob("cached_ops/*") if path.name not in ("norm", "tmp")]
    assert compiled == []


def test_verify_says_what_is_there(environment: Path) -> None:
    command = [sys.executable, "-m", "vllm_nix", "verify", str(environment)]
    command += ["--for", "a6000", "--json"]
    checks = ("kernels", "gpu-code", "elf", "record", "attention")
    done = subprocess.run(
        [*command, "--only", *checks], check=False, capture_output=True, text=True
    )
    report = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    assert {check["status"] for check in report.values()} == {"ok"}
    [finding] = report["kernels"]["findings"]
    assert finding["found"].endswith("compiled already: attention bf16 128, sampling")


def test_they_are_for_the_targets_capabilities_alone(environment: Path) -> None:
    [folder] = environment.glob("lib/python3.11/site-packages/flashinfer_jit_cache/jit_cache")
    command = [sys.executable, "-m", "vllm_nix", "archs", "--json", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    libraries = json.loads(done.stdout)["libraries"]
    assert len(libraries) == 2
    for library in libraries:
        assert {(code["kind"], code["arch"]) for code in library["code"]} == {("cubin", "sm_86")}
