"""The targets of verl, from the real wheels: patched where they must be, and usable together."""

import json
import zipfile
from pathlib import Path

import pytest

from tests.builds.test_patched_wheel import untrue_rows
from tests.builds.test_verl_patch import PATCHED
from tests.builds.test_vllm_source import PACKAGES, vllm
from tests.conftest import ROOT, Nix, said
from vllm_nix.verification.tiny_model import TinyModel

pytestmark = [pytest.mark.nix, pytest.mark.slow]

FILES = {
    "vllm/distributed/parallel_state.py",
    "vllm/executor/uniproc_executor.py",
    "vllm/model_executor/model_loader/weight_utils.py",
}


def named(release: str) -> str:
    return f"verl_{release.replace('.', '_')}"


def quick(target: str) -> str:
    """A target's environment without flash-attention, which takes hours to compile."""
    return f"""(vllmPackages.{target}.overrideScope (_: scope: {{
        components = builtins.filter (wheel: wheel.name != "flash-attn") scope.components;
      }})).vllm-{target}"""


def wheel(release: str, attribute: str) -> str:
    """The wheel of vLLM that an environment is made of, or what that was made from."""
    return f"""let {PACKAGES}
        isVllm = wheel: wheel.pname == "vllm";
        found = builtins.head (builtins.filter isVllm ({quick(named(release))}).components);
      in {attribute}"""


@pytest.mark.parametrize("release", PATCHED)
def test_the_wheel_is_the_released_one_but_for_the_patch(nix: Nix, release: str) -> None:
    path = nix.build(wheel(release, "found.src"))
    assert path.name.endswith(f"-vllm-{release}+verl-cp38-abi3-manylinux1_x86_64.whl")
    assert untrue_rows(path) == []
    patched = vllm(release, '[ "verl" ]')
    source = nix.build(f"let {PACKAGES} in {patched}")
    released = nix.build(wheel(release, "found.src.wheel"))
    with zipfile.ZipFile(path) as new, zipfile.ZipFile(released) as old:
        before = {entry.filename: entry.CRC for entry in old.infolist()}
        after = {entry.filename: entry.CRC for entry in new.infolist()}
        texts = {name: new.read(name) for name in FILES}
        metadata = new.read(f"vllm-{release}+verl.dist-info/METADATA").decode()
        version = new.read("vllm/_version.py").decode()
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    assert changed == FILES | {"vllm/_version.py"}
    assert len(after) == len(before)
    assert sum(name.endswith(".abi3.so") for name in after.keys() & before.keys()) >= 4
    assert texts == {name: (source / name).read_bytes() for name in FILES}
    assert f"\nVersion: {release}+verl\n" in metadata
    assert f"__version__ = version = '{release}+verl'" in version


RANK = """
import torch.distributed
from vllm.distributed import parallel_state

torch.distributed.init_process_group("gloo")
parallel_state.init_distributed_environment(backend="gloo", local_rank=0)
parallel_state.initialize_model_parallel(2, backend="gloo")
ones = torch.ones(1)
torch.distributed.all_reduce(ones, group=parallel_state.get_tp_group().cpu_group)
print(torch.distributed.get_rank(), parallel_state.get_tp_group().ranks, int(ones), flush=True)
"""


@pytest.mark.parametrize("release", ["0.7.2", "0.7.3"])
def test_four_workers_are_two_engines(nix: Nix, tmp_path: Path, release: str) -> None:
    """Real processes, which talk: verl's workers, of which two and two have one model."""
    name = named(release)
    environment = nix.build(f"let {PACKAGES} in {quick(name)}")
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    variables = {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    lines = said(
        environment / "bin/torchrun", "--nproc-per-node=4", script, env=variables
    ).splitlines()
    assert sorted(lines) == [f"{rank} {'[0, 1]' if rank < 2 else '[2, 3]'} 2" for rank in range(4)]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("verl", "import verl, vllm, torch; assert torch.version.cuda == '13.0'"),
        ("verl", "from verl.workers.engine_workers import ActorRolloutRefWorker"),
        ("verl", "from verl.workers.rollout.vllm_rollout import ServerAdapter"),
        ("verl", "from verl.trainer.main_ppo import main"),
        ("verl_0_7_3", "import verl, vllm, torch; assert torch.version.cuda == '12.4'"),
        ("verl_0_7_3", "from verl.third_party.vllm import LLM, parallel_state"),
        ("verl_0_7_3", "from verl.trainer.main_ppo import main"),
        ("verl_0_8_3", "import triton, vllm.model_executor.model_loader.loader"),
        ("verl_0_8_3", "from verl.trainer.main_ppo import main"),
    ],
)
def test_verl_finds_its_vllm(nix: Nix, tmp_path: Path, target: str, code: str) -> None:
    environment = nix.build(f"let {PACKAGES} in {quick(target)}")
    said(environment / "bin/python", "-c", code, env={"HOME": str(tmp_path)})


# docs/verl.md, the switches.
SWITCHES = {
    "enforce_eager": "True",
    "cudagraph_capture_sizes": "[1,2,4,8,16]",
    "free_cache_engine": "False",
    "mode": "async",
}


def test_the_trainer_takes_what_the_docs_name(nix: Nix, tmp_path: Path) -> None:
    """verl 0.9.1's own configuration with our words, resolved as its trainer does."""
    rollout = "actor_rollout_ref.rollout"
    words = [f"{rollout}.{name}={value}" for name, value in SWITCHES.items()]
    environment = nix.build(f"let {PACKAGES} in {quick('verl')}")
    printed = said(
        *(environment / "bin/python", "-m", "verl.trainer.main_ppo"),
        *("--cfg", "job", "--resolve", "-p", rollout, f"{rollout}.name=vllm", *words),
        env={"HOME": str(tmp_path)},
    )
    lines = printed.replace("\n- ", " ").splitlines()
    assert {
        *("enforce_eager: true", "cudagraph_capture_sizes: 1 2 4 8 16"),
        *("free_cache_engine: false", "mode: async", "name: vllm"),
    } <= set(lines)


def test_one_step_of_grpo_on_the_cpu(nix: Nix, tmp_path: Path) -> None:
    """Each answer becomes more or less likely, as its reward is above or below its group's."""
    environment = nix.build(f"let {PACKAGES} in {quick('verl')}")
    model = tmp_path / "model"
    TinyModel.make().write(model)
    program = ROOT / "tests/builds/verl/grpo_step.py"
    variables = {"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    printed = said(environment / "bin/python", program, model, env=variables)
    step = json.loads(printed.splitlines()[-1])
    assert step["grad_norm"] > 0
    assert min(step["advantages"]) < 0 < max(step["advantages"])
    for advantage, moved in zip(step["advantages"], step["moved"], strict=True):
        assert advantage * moved > 0 or advantage == 0
