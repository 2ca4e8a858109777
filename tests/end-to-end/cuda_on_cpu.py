"""Runs verify's probe of the GPU with the processor in its place; all the rest is the real torch.

    PROBE=.../gpu.py DEVICES=2 python cuda_on_cpu.py ANSWERS STEP...

"cuda" devices become the CPU, NCCL becomes gloo, and vLLM's flash-attention is torch's attention
under the parameters of the vLLM that is installed. Processes that are spawned import this as well.
"""

import ast
import functools
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import distributed
from torch.overrides import TorchFunctionMode

probe, devices = Path(os.environ["PROBE"]), int(os.environ["DEVICES"])


class OnCpu(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        def place(value: Any) -> Any:
            return "cpu" if isinstance(value, str) and value.startswith("cuda") else value

        named = {name: place(value) for name, value in (kwargs or {}).items()}
        return function(*map(place, args), **named)


OnCpu().__enter__()
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: devices
torch.cuda.get_device_capability = lambda device=None: (9, 0)
torch.cuda.get_device_name = lambda device=None: "processor"
torch.cuda.set_device = lambda device: None
torch.cuda.synchronize = lambda device=None: None
init = distributed.init_process_group


@functools.wraps(init)
def init_gloo(backend: str, **options: Any) -> None:
    assert backend == "nccl"
    init("gloo", **options)


distributed.init_process_group = init_gloo


def parameters_of_vllms() -> set[str]:
    vllm = importlib.util.find_spec("vllm")
    assert vllm
    assert vllm.submodule_search_locations
    (folder,) = vllm.submodule_search_locations
    source = Path(folder, "vllm_flash_attn/flash_attn_interface.py").read_text(encoding="utf-8")
    (function,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == "flash_attn_varlen_func"
    )
    return {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}


def flash_attn_varlen_func(query: Any, key: Any, value: Any, **options: Any) -> Any:
    assert options.keys() <= parameters_of_vllms()
    assert (options["causal"], options["fa_version"]) == (True, 3)
    assert torch.equal(options["cu_seqlens_q"], options["cu_seqlens_k"])
    starts = options["cu_seqlens_q"].tolist()
    parts = []
    for start, end in itertools.pairwise(starts):
        assert end - start == options["max_seqlen_q"] == options["max_seqlen_k"]
        one = (part[start:end].transpose(0, 1)[None] for part in (query, key, value))
        got = torch.nn.functional.scaled_dot_product_attention(*one, is_causal=True)
        parts.append(got[0].transpose(0, 1))
    return torch.cat(parts)


def is_fa_version_supported(version: int) -> bool:
    return True


if __name__ == "__main__":
    flash = ModuleType("vllm.vllm_flash_attn")
    functions = (flash_attn_varlen_func, is_fa_version_supported)
    vars(flash).update({function.__name__: function for function in functions})
    sys.modules[flash.__name__] = flash
# So its functions are this module's, as processes that are spawned look for them.
# Spawned processes go by `__file__`, so that it stays this file's; the probe's neighbours are beside the probe.
source = probe.read_text(encoding="utf-8").replace("Path(__file__)", f"Path({str(probe)!r})")
exec(compile(source, probe, "exec"))  # noqa: S102
