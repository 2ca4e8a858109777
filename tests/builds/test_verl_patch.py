"""The patch `verl` on the real archives: their own functions, run with stand-ins for torch."""

import __future__

import ast
import filecmp
import itertools
import math
import operator
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from tests.builds.test_vllm_source import PACKAGES, vllm
from tests.conftest import Nix

pytestmark = pytest.mark.nix

PATCHED = ("0.7.0", "0.7.1", "0.7.2")
MENDED_UPSTREAM = "0.7.3"
Source = Callable[[str, bool], Path]
Groups = dict[str, list[list[int]]]


@pytest.fixture(scope="module")
def source(nix: Nix) -> Source:
    """A release's archive as a folder, with the patch or without."""

    def build(release: str, is_patched: bool) -> Path:
        patches = '[ "verl" ]' if is_patched else "[ ]"
        return nix.build(f"let {PACKAGES} in {vllm(release, patches)}")

    return build


def definition(file: Path, name: str, **names: Any) -> Any:
    """One function or class of a file, by itself, where `names` are all that there is."""
    tree = ast.parse(file.read_text())
    [found] = (node for node in tree.body if getattr(node, "name", "") == name)
    module = ast.Module([found], type_ignores=[])
    code = compile(module, str(file), "exec", __future__.annotations.compiler_flag)
    exec(code, names)  # noqa: S102, the release's own code is what is tested
    return names[name]


class Ranks:
    """The little of torch.Tensor that vLLM forms groups with since 0.8."""

    def __init__(self, values: Sequence[int], shape: Sequence[int]) -> None:
        self.values, self.shape = list(values), list(shape)

    def reshape(self, *shape: int) -> "Ranks":
        known = math.prod(size for size in shape if size != -1)
        whole, rest = divmod(len(self.values), known)
        if rest or (-1 not in shape and whole != 1):
            raise RuntimeError(f"shape {shape} is invalid for input of size {len(self.values)}")
        return Ranks(self.values, [whole if size == -1 else size for size in shape])

    view = reshape

    def transpose(self, one: int, other: int) -> "Ranks":
        order = list(range(len(self.shape)))
        order[one], order[other] = order[other], order[one]
        strides = [math.prod(self.shape[axis + 1 :]) for axis in order]
        shape = [self.shape[axis] for axis in order]
        places = itertools.product(*map(range, shape))
        return Ranks(
            [self.values[sum(map(operator.mul, place, strides))] for place in places], shape
        )

    def unbind(self, _: int) -> list["Ranks"]:
        size = math.prod(self.shape[1:])
        starts = range(0, len(self.values), size)
        return [Ranks(self.values[start : start + size], self.shape[1:]) for start in starts]

    def tolist(self) -> list[int]:
        return self.values


def groups(folder: Path, world: int, tensor: int, pipeline: int = 1) -> Groups:
    """The groups of ranks that vLLM makes of a world of workers, one engine to `tensor` of them."""
    made: Groups = {}

    def make(ranks: list[list[int]], *_: Any, group_name: str, **__: Any) -> MagicMock:
        made[group_name] = ranks
        return MagicMock()

    torch = MagicMock()
    torch.distributed.get_world_size.return_value = world
    torch.arange = lambda size: Ranks(range(size), [size])
    initialize = definition(
        folder / "vllm/distributed/parallel_state.py",
        "initialize_model_parallel",
        torch=torch,
        get_world_group=MagicMock(),
        init_model_parallel_group=make,
        logger=MagicMock(),
        _TP=None,
        _PP=None,
        _DP=None,
    )
    initialize(tensor, pipeline)
    return made


def device(
    folder: Path, rank: int, local_rank: int, monkeypatch: pytest.MonkeyPatch, v1: bool = False
) -> int:
    """The number of the GPU that an engine's worker takes, as its launcher sets it."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    executor = definition(
        folder / "vllm/executor/uniproc_executor.py",
        "ExecutorWithExternalLauncher",
        UniProcExecutor=object,
        WorkerWrapperBase=MagicMock(),
        envs=SimpleNamespace(VLLM_USE_V1=v1),
        os=os,
    )()
    executor.vllm_config = MagicMock()
    executor.vllm_config.parallel_config.pipeline_parallel_size = 1
    executor.vllm_config.scheduler_config.delay_factor = 0.0
    executor.collective_rpc = MagicMock()
    executor._init_executor()
    [arguments] = executor.collective_rpc.call_args_list[0].kwargs["args"][0]
    assert arguments["rank"] == rank
    return int(arguments["local_rank"])


def read_weights(folder: Path) -> tuple[list[tuple[str, int]], int]:
    """The weights of two checkpoint files, and how often the GPU's memory was given back."""
    torch = MagicMock()
    torch.load.side_effect = [{"a": 1}, {"b": 2}]
    iterate = definition(
        folder / "vllm/model_executor/model_loader/weight_utils.py",
        "pt_weights_iterator",
        torch=torch,
        tqdm=lambda files, **_: files,
        _BAR_FORMAT="",
    )
    return list(iterate(["1.bin", "2.bin"])), torch.cuda.empty_cache.call_count


@pytest.mark.parametrize("release", PATCHED)
def test_a_world_may_be_several_engines(source: Source, release: str) -> None:
    with pytest.raises(RuntimeError, match=r"world_size \(4\) is not equal to"):
        groups(source(release, False), world=4, tensor=2)
    patched = source(release, True)
    assert groups(patched, world=4, tensor=2) == {
        "tp": [[0, 1], [2, 3]],
        "pp": [[0], [1], [2], [3]],
    }
    for world, tensor, pipeline in ((1, 1, 1), (2, 2, 1), (8, 2, 4)):
        before = groups(source(release, False), world, tensor, pipeline)
        assert groups(patched, world, tensor, pipeline) == before, "one engine: as it was"


@pytest.mark.parametrize("release", PATCHED)
def test_a_worker_takes_a_gpu_of_its_own_host(
    source: Source, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device(source(release, False), 9, 1, monkeypatch) == 9, "a host has no GPU 9"
    patched = source(release, True)
    assert [device(patched, rank, rank - 8, monkeypatch) for rank in (8, 9)] == [0, 1]


@pytest.mark.parametrize("release", PATCHED)
def test_reading_weights_leaves_the_gpus_memory_alone(source: Source, release: str) -> None:
    weights = [("a", 1), ("b", 2)]
    assert read_weights(source(release, False)) == (weights, 2)
    assert read_weights(source(release, True)) == (weights, 0)


def test_0_7_3_does_all_of_it_by_itself(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the patch ends there: it leaves this release's archive as it is."""
    folder = source(MENDED_UPSTREAM, False)
    assert groups(folder, world=4, tensor=2)["tp"] == [[0, 1], [2, 3]]
    assert device(folder, 9, 1, monkeypatch) == 1
    assert read_weights(folder)[1] == 0
    assert unchanged(folder, source(MENDED_UPSTREAM, True))


def unchanged(one: Path, other: Path) -> bool:
    names = [str(path.relative_to(one)) for path in one.rglob("*.py")]
    return filecmp.cmpfiles(one, other, names, shallow=False) == (names, [], [])


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> None:
    """What vLLM knows of parallelism while it forms groups: one engine of two workers."""
    parallel = SimpleNamespace(data_parallel_size=1, world_size=2)
    module: Any = ModuleType("vllm.config")
    module.get_current_vllm_config = lambda: SimpleNamespace(parallel_config=parallel)
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.config", module)


def test_0_7_refuses_v1_under_an_external_launcher(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="V1 architecture cannot guarantee deterministic"):
        device(source(MENDED_UPSTREAM, False), 0, 0, monkeypatch, v1=True)


@pytest.mark.usefixtures("config")
def test_v1_forms_the_groups_by_itself_since_0_8(source: Source) -> None:
    folder = source("0.8.3", False)
    assert groups(folder, world=4, tensor=2) == {
        "tp": [[0, 1], [2, 3]],
        "pp": [[0], [1], [2], [3]],
        "dp": [[0], [1], [2], [3]],
    }
    assert unchanged(folder, source("0.8.3", True))


@pytest.mark.usefixtures("config")
def test_the_line_for_v1_lands_where_the_value_is_set(nix: Nix, source: Source) -> None:
    """0.8.3 has the text that a commit before 0.8.0 needs it in."""
    folder = nix.build(f"""let {PACKAGES} in vllmPackages.patchedSource {{
        pname = "vllm";
        version = "0.7.4.dev97";
        src = {source("0.8.3", False)};
        replacements = import ./pkgs/vllm/verl.nix;
      }}""")
    assert groups(folder, world=4, tensor=2)["dp"] == [[0, 2], [1, 3]]
    assert sorted(groups(folder, 8, 2, pipeline=2)["dp"]) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert groups(folder, world=2, tensor=2)["dp"] == [[0], [1]]
