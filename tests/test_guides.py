"""What the guides list that people follow by hand: each name is in the target's shell."""

import json

import pytest

from tests.conftest import EMBEDDED, ROOT, Nix
from vllm_nix.locks.pylock import read_lock
from vllm_nix.targets import load_target, target_names

# In the lock, or made here and in the environment with it: downloads by ModelScope and what watches GPUs; what CANN's
# guide and the evaluation of models ask for; a notebook whose kernel is the environment, and models from S3.
NVIDIA = {"modelscope", "nvitop"}
ASCEND = {"fire", "modelscope", "rouge-score"}
NEURON = {"awscli", "ipykernel", "jupyter", "jupyterlab", "notebook"}
VERL = {"flash-attn", "ray", "verl", "vllm"}
PACKAGES = {
    "ascend": ASCEND,
    "ascend_0_18": ASCEND,
    "ascend_0_23": ASCEND | {"triton-ascend"},
    "cuda": NVIDIA,
    "cuda_12": NVIDIA,
    "neuron": NEURON,
    "neuron_0_24": NEURON | {"vllm-neuron"},
    "neuron_0_7": NEURON,
    "spark": NVIDIA,
    "verl": VERL,
    "verl_0_7_0": VERL,
    "verl_0_7_1": VERL,
    "verl_0_7_2": VERL,
    "verl_0_7_3": VERL,
    "verl_0_8_3": VERL,
}
# Of which no guide that we follow lists more than vLLM: what compiles it is test_jetson.py's.
PLAIN = {"cpu", "jetson", "jetson_0_13", "jetson_7"}
TOOLS = {
    "cuda": {"nccl-tests", "tmux"},
    "cuda_12": {"nccl-tests", "tmux"},
    "neuron": {"neuron-tools"},  # neuron-ls and neuron-top
    "neuron_0_24": {"neuron-tools"},
    "neuron_0_7": {"neuron-tools"},
    "spark": {"nccl-tests", "tmux"},
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


def test_every_target_is_asked() -> None:
    assert {*PACKAGES, *PLAIN} == set(target_names())


@pytest.mark.parametrize("name", EXPORTS)
def test_a_targets_exports(name: str) -> None:
    assert load_target(name).data["run"]["env"] == EXPORTS[name]


@pytest.mark.nix
@pytest.mark.parametrize("name", TOOLS)
def test_a_shells_tools(nix: Nix, name: str) -> None:
    system = load_target(name).systems[0]
    shell = f".#devShells.{system}.{name}.nativeBuildInputs"
    apply = "map (tool: tool.pname or tool.name)"
    names = json.loads(nix("nix", "eval", "--json", *EMBEDDED, shell, "--apply", apply).stdout)
    for tool in TOOLS[name]:
        assert any(each.startswith(tool) for each in names), tool
