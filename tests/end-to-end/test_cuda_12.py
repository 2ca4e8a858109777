"""The target that compiles vLLM beside torch's wheel, but for the hours: one extension of its vLLM.

Needs `vllm-nix fetch cuda_12 debian-cuda12 debian-cuda12-libraries vllm-sources`, and the source of
vllm-flash-attn, which is on GitHub alone.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Nix

pytestmark = [pytest.mark.nix, pytest.mark.slow]

SCOPE = "(import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages.cuda_12"
PART = """(_: super: {
  vllm = (super.vllm.override { extensions = [ "cumem_allocator" ]; }).overrideAttrs {
    memoryPerJob = "1 GiB"; # it has no kernels
  };
})"""


@pytest.fixture(scope="module")
def checks(nix: Nix) -> dict[str, dict[str, Any]]:
    """What `verify` says of the environment, by the checks' ids."""
    expression = f"toString {SCOPE}.vllm-flash-attn.src"
    source = nix("nix-instantiate", "--eval", "--json", "--expr", expression).stdout
    if not Path(json.loads(source)).exists():
        pytest.skip(f"{source.strip()} is not in the store: see docs/cuda.md")
    environment = nix.build(f"({SCOPE}.overrideScope {PART}).vllm-cuda_12")
    command = [sys.executable, "-m", "vllm_nix", "verify", str(environment)]
    command += ["--for", "a6000", "--json", "--timeout", "600"]
    said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    return {check["id"]: check for check in json.loads(said)["checks"]}


def test_all_but_the_kernels_left_out_is_good(checks: dict[str, dict[str, Any]]) -> None:
    bad = {name for name, check in checks.items() if check["status"] in ("failed", "warning")}
    assert bad == {"elf", "gpu-code"}
    warned = [one["where"] for one in checks["elf"]["findings"] if one["status"] == "warning"]
    assert all(where.startswith("cupy") for where in warned), "parts that want a host's toolkit"
    assert "vLLM has no kernels of its own" in json.dumps(checks["gpu-code"])


@pytest.mark.parametrize("check", ["attention", "imports", "nccl", "torch-abi", "triton"])
def test_the_registrys_torch_serves_it(checks: dict[str, dict[str, Any]], check: str) -> None:
    assert checks[check]["status"] == "ok"
