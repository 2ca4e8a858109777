"""Kernels that are there before the first request: FlashInfer loads them, and compiles nothing.

Needs `vllm-nix fetch cuda`, 4 GB; the first time 12 minutes of a processor.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Nix, said

pytestmark = [pytest.mark.nix, pytest.mark.slow]

SCOPE = "(import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages.cuda"
SAMPLING, ATTENTION, XQA = "sampling", "attention-bf16-128", "xqa-bf16-128-4"
# Each as vLLM asks (v1/sample/ops/topk_topp_sampler.py, v1/attention/backends/flashinfer.py), and what is not there.
ASK = """
import os, sys
os.environ |= {"CUDA_HOME": sys.argv[1], "PATH": f"{sys.argv[1]}/bin"}
import torch
from flashinfer.norm import get_norm_module
from flashinfer.prefill import get_batch_prefill_module
from flashinfer.sampling import get_sampling_module
from flashinfer.xqa import get_xqa_module
half = torch.bfloat16
arguments = half, half, half, torch.int32, 128, 128, 0, False, False, False
ask = {
    "sampling": lambda: get_sampling_module().top_p_sampling_from_probs,
    "fa2": lambda: get_batch_prefill_module("fa2", *arguments).paged_run,
    "xqa": lambda: get_xqa_module(half, half, 16, 128, 4, False, half, 1).xqa,
    "xqa-fp8": lambda: get_xqa_module(half, torch.float8_e4m3fn, 16, 128, 4, False, half, 1).xqa,
}
for name in sys.argv[2:]:
    print(ask[name]())
try:
    get_norm_module()
except RuntimeError as error:
    print(error)
"""


DRIVER = """
int cuInit(unsigned flags) { return 100; }  /* CUDA_ERROR_NO_DEVICE */
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
"""


def environment_for(nix: Nix, capability: str, *modules: str) -> Path:
    names = " ".join(f'"{name}"' for name in modules)
    changes = f'kernels.modules = [ {names} ]; cuda = old.cuda // {{ capabilities = [ "{capability}" ]; }};'
    return nix.build(f"({SCOPE}.overrideTarget (old: old // {{ {changes} }})).vllm-cuda")


@pytest.fixture(scope="module")
def environment(nix: Nix) -> Path:
    return environment_for(nix, "8.6", SAMPLING, ATTENTION)


@pytest.fixture
def no_compiler(tmp_path: Path) -> Path:
    """A toolkit whose programs say that they were called."""
    for name in ("nvcc", "ninja"):
        program = tmp_path / "cuda/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} was called\nexit 1\n")
        program.chmod(0o755)
    return tmp_path / "cuda"


@pytest.mark.parametrize(
    ("capability", "modules", "asked"),
    [
        ("8.6", [SAMPLING, ATTENTION], ["sampling", "fa2"]),
        ("9.0", ["xqa-bf16-e4m3-128-4"], ["xqa-fp8"]),
        ("12.0", [ATTENTION, XQA], ["fa2", "xqa"]),
    ],
)
def test_flashinfer_loads_them_and_compiles_nothing(
    nix: Nix,
    no_compiler: Path,
    compile_library: Callable[..., bytes],
    tmp_path: Path,
    capability: str,
    modules: list[str],
    asked: list[str],
) -> None:
    """A driver of CUDA 13 without a device, and FLASHINFER_CUDA_ARCH_LIST, stand for the device."""
    environment = environment_for(nix, capability, *modules)
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "libcuda.so.1").write_bytes(compile_library(DRIVER, "-Wl,-soname,libcuda.so.1"))
    variables = {
        "FLASHINFER_CUDA_ARCH_LIST": capability,
        "HOME": str(tmp_path),
        "LD_LIBRARY_PATH": str(driver),
        "PATH": "/usr/bin:/bin",
    }
    python = environment / "bin/python"
    answers = said(python, "-c", ASK, no_compiler, *asked, env=variables).splitlines()
    found, failure = answers[: len(asked)], answers[len(asked) :]
    assert all("function" in line for line in found)
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
