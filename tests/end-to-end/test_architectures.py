"""What was left out of slim wheels is missed by no model: each that vLLM has imports, as on an A6000.

Needs `vllm-nix fetch cuda`, 4 GB.
"""

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT, Nix, said

pytestmark = [pytest.mark.nix, pytest.mark.slow]

CUDA = "(import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages.cuda.vllm-cuda"
# What vLLM's own requirements leave to who wants the model, and what is for 10.x alone.
OTHERS = {
    "CohereAsrForConditionalGeneration": "torchaudio",
    "FlintForCausalLM": "ptxas-blackwell",
    "FunASRForConditionalGeneration": "torchaudio",
    "KananaVForConditionalGeneration": "timm",
    "MiDashengLMModel": "torchaudio",
    "Terratorch": "terratorch",
}


@pytest.mark.parametrize("environment", [f"{CUDA}.slim", f"{CUDA}.slim.unfree"])
def test_every_architecture_imports(nix: Nix, tmp_path: Path, environment: str) -> None:
    python = nix.build(environment) / "bin/python"
    variables = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    lines = said(python, ROOT / "tests/end-to-end/architectures.py", env=variables).splitlines()
    found = json.loads(lines[-1])
    assert found["count"] > 400
    assert found["failed"].keys() == OTHERS.keys(), found["failed"]
    for name, lack in OTHERS.items():
        assert lack in found["failed"][name]
