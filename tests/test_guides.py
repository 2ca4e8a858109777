"""What the guides list that people follow by hand: each name is in the target's shell."""

import json

import pytest

from tests.conftest import EMBEDDED, ROOT, Nix
from vllm_nix.locks.pylock import read_lock
from vllm_nix.targets import load_target

# In the lock, or made here and in the environment with it.
PACKAGES = {
    "ascend": {"fire", "modelscope", "rouge-score"},
    "cuda": {"modelscope", "nvitop"},
    "cuda_12": {"modelscope", "nvitop"},
    "neuron": {"awscli", "ipykernel", "jupyter", "jupyterlab", "notebook"},
    "spark": {"modelscope", "nvitop"},
    "verl": {"flash-attn", "ray", "verl", "vllm"},
}
TOOLS = {
    "cuda": {"nccl-tests", "tmux"},
    "cuda_12": {"nccl-tests", "tmux"},
    "neuron": {"neuron-tools"},  # neuron-ls and neuron-top
}
# Of verl's guide to vLLM 0.8; 0.9.1 sets what it needs itself, and vLLM 0.24 has V1 alone.
EXPORTS = {
    "verl_0_8_3": {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_USE_V1": "1"},
}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_targets_packages(name: str) -> None:
    target = load_target(name)
    for system in target.systems:
        lock = read_lock(ROOT / f"nix/targets/{name}/pylock.{system}.toml")
        there = {wheel.name for wheel in lock.wheels} | set(target.components())
        assert PACKAGES[name] <= there, system


@pytest.mark.parametrize("name", EXPORTS)
def test_a_targets_exports(name: str) -> None:
    assert load_target(name).data["run"]["env"] == EXPORTS[name]


@pytest.mark.nix
@pytest.mark.parametrize("name", TOOLS)
def test_a_shells_tools(nix: Nix, name: str) -> None:
    shell = f".#devShells.x86_64-linux.{name}.nativeBuildInputs"
    apply = "map (tool: tool.pname or tool.name)"
    names = json.loads(nix("nix", "eval", "--json", *EMBEDDED, shell, "--apply", apply).stdout)
    for tool in TOOLS[name]:
        assert any(each.startswith(tool) for each in names), tool
