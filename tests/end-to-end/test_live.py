"""verify's probe of the GPU, run by a real torch on a machine without one (see cuda_on_cpu.py)."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EMBEDDED, Nix
from vllm_nix import process as child
from vllm_nix.verification.checks.live import BOUND
from vllm_nix.verification.environment import PROBES, START

pytestmark = pytest.mark.nix
STAND_IN = Path(__file__).with_name("cuda_on_cpu.py")


@pytest.fixture(scope="module")
def python(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    link = tmp_path_factory.mktemp("build") / "result"
    nix("nix", "build", ".#vllm-cpu", "--out-link", str(link), *EMBEDDED)
    return link / "bin/python"


def answer(python: Path, folder: Path, *step: str, devices: int = 1) -> dict[str, Any]:
    command: list[str | Path] = [python, "-c", START, STAND_IN, "{answers}", *step]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    environment |= {"PROBE": str(PROBES / "gpu.py"), "DEVICES": str(devices)}
    outcome = child.run(command, folder=folder, environment=environment, limit=120)
    assert outcome.status == 0, outcome.stderr
    (line,) = outcome.answers
    return line


def test_device(python: Path, tmp_path: Path) -> None:
    value = answer(python, tmp_path, "device", devices=2)["value"]
    assert value["devices"] == [{"name": "processor", "capability": "9.0", "sum": 499500}] * 2


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_all_reduce(python: Path, tmp_path: Path, devices: int) -> None:
    """Over gloo, with a process for each device."""
    value = answer(python, tmp_path, "all-reduce", devices=devices)["value"]
    total = devices * (devices + 1) / 2
    assert value == {"devices": devices, "values": [[total, total]] * devices, "expected": total}


@pytest.mark.parametrize("library", ["torch", "vllm"])
def test_attention(python: Path, tmp_path: Path, library: str) -> None:
    error = answer(python, tmp_path, "attention", library)["value"]["error"]
    assert 0 < error <= BOUND / 2


def test_library_that_is_not_there(python: Path, tmp_path: Path) -> None:
    said = answer(python, tmp_path, "attention", "flash-attn")
    assert said == {"error": "ModuleNotFoundError: No module named 'flash_attn'"}


def test_a_wrong_mask_scale_or_layout_is_far_off(python: Path) -> None:
    """What the bound has to distinguish, with the same shapes: each is a hundred bounds away."""
    code = """
import torch
attend = torch.nn.functional.scaled_dot_product_attention
q, k, v = (torch.randn(2, 4, 128, 64).clamp(-4, 4) for _ in range(3))
right = attend(q, k, v, is_causal=True)
for wrong in (
    attend(q, k, v),
    attend(q, k, v, is_causal=True, scale=1 / 64),
    attend(q.mT.reshape(q.shape), k, v, is_causal=True),
):
    print((wrong - right).abs().max().item())
"""
    result = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    errors = [float(line) for line in result.stdout.split()]
    assert len(errors) == 3
    assert min(errors) > 100 * BOUND
