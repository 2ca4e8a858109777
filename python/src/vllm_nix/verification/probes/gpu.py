"""Tries one thing on the GPU and answers what came out. Runs in the environment, with its torch.

One process for each: after an error, a CUDA context is of no use.
"""

from __future__ import annotations  # Python 3.8 runs it, as of vLLM 0.6

import importlib
import json
import math
import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def device() -> dict[str, Any]:
    """What torch sees, and a sum that it works out there."""
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # raises, and says why
    devices = []
    for index in range(torch.cuda.device_count()):
        total = int(torch.arange(1000, device=f"cuda:{index}").sum().item())
        major, minor = torch.cuda.get_device_capability(index)
        name = torch.cuda.get_device_name(index)
        devices.append({"name": name, "capability": f"{major}.{minor}", "sum": total})
    return {"devices": devices, "cuda": torch.version.cuda}


def all_reduce() -> dict[str, Any]:
    """Each device, a process, adds its rank + 1; all must have the whole sum."""
    torch = importlib.import_module("torch")
    count = torch.cuda.device_count()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder, "store"))
        results = Path(folder, "results")
        results.mkdir()
        if count == 1:
            _reduce(0, 1, store, str(results))
        else:
            multiprocessing = importlib.import_module("torch.multiprocessing")
            multiprocessing.spawn(_reduce, args=(count, store, str(results)), nprocs=count)
        values = [json.loads(file.read_text()) for file in sorted(results.iterdir())]
    return {"devices": count, "values": values, "expected": count * (count + 1) / 2}


def _reduce(rank: int, count: int, store: str, results: str) -> None:
    torch = importlib.import_module("torch")
    distributed = importlib.import_module("torch.distributed")
    torch.cuda.set_device(rank)
    distributed.init_process_group(
        "nccl", store=distributed.FileStore(store, count), rank=rank, world_size=count
    )
    value = torch.full((1024,), float(rank + 1), device=f"cuda:{rank}")
    distributed.all_reduce(value)
    torch.cuda.synchronize()
    Path(results, f"{rank:04}").write_text(json.dumps([value.min().item(), value.max().item()]))
    distributed.destroy_process_group()


# Triton reads a kernel's source from its file, so it is written to one.
KERNEL = """
import triton
import triton.language as tl

@triton.jit
def add(left, right, out, count, BLOCK: tl.constexpr):
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = places < count
    total = tl.load(left + places, mask=inside) + tl.load(right + places, mask=inside)
    tl.store(out + places, total, mask=inside)
"""


def triton() -> dict[str, Any]:
    """A kernel that Triton compiles here adds two vectors."""
    torch = importlib.import_module("torch")
    Path("kernel_of_verify.py").write_text(KERNEL)
    sys.path.insert(0, ".")
    module = importlib.import_module("kernel_of_verify")
    count, block = 1000, 256
    left = torch.arange(count, device="cuda", dtype=torch.float32)
    right = torch.full((count,), 0.5, device="cuda")
    out = torch.zeros_like(left)
    module.add[(-(-count // block),)](left, right, out, count, BLOCK=block)
    return {"error": float((out - left - right).abs().max().item())}


def attention(library: str) -> dict[str, Any]:
    """Attention in half precision by one library, beside the same in double."""
    torch = importlib.import_module("torch")
    batch, length, heads, size = 2, 128, 4, 64
    torch.manual_seed(0)
    # Values of half precision, below 4 in size: see the bound in `live-attention`.
    query, key, value = (
        torch.randn(batch, length, heads, size).clamp(-4, 4).to("cuda", torch.float16)
        for _ in range(3)
    )
    q, k, v = (part.double().transpose(1, 2) for part in (query, key, value))
    scores = q @ k.transpose(-1, -2) / math.sqrt(size)
    above = torch.ones(length, length, device="cuda", dtype=torch.bool).triu(1)
    right = (scores.masked_fill(above, -math.inf).softmax(-1) @ v).transpose(1, 2)
    got = ATTENTIONS[library](query, key, value)
    return {"error": float((got.double() - right).abs().max().item())}


def torchs(query: Any, key: Any, value: Any) -> Any:
    attend = importlib.import_module("torch").nn.functional.scaled_dot_product_attention
    parts = (part.transpose(1, 2) for part in (query, key, value))
    return attend(*parts, is_causal=True).transpose(1, 2)


def vllms(query: Any, key: Any, value: Any, name: str = "vllm.vllm_flash_attn") -> Any:
    """vLLM's own flash-attention, which has sequences of different lengths one after the other."""
    torch, module = importlib.import_module("torch"), importlib.import_module(name)
    batch, length = query.shape[:2]
    starts = torch.arange(batch + 1, device="cuda", dtype=torch.int32) * length
    flat = (part.flatten(0, 1) for part in (query, key, value))
    is_hopper = torch.cuda.get_device_capability()[0] == 9
    has_3 = getattr(module, "is_fa_version_supported", lambda version: False)
    got = module.flash_attn_varlen_func(
        *flat,
        max_seqlen_q=length,
        cu_seqlens_q=starts,
        max_seqlen_k=length,
        cu_seqlens_k=starts,
        causal=True,
        **({"fa_version": 3} if is_hopper and has_3(3) else {}),  # as vLLM chooses
    )
    return got.reshape(query.shape)


def early_vllms(query: Any, key: Any, value: Any) -> Any:
    return vllms(query, key, value, "vllm_flash_attn")


def flash_attns(query: Any, key: Any, value: Any) -> Any:
    return importlib.import_module("flash_attn").flash_attn_func(query, key, value, causal=True)


def xformers(query: Any, key: Any, value: Any) -> Any:
    ops = importlib.import_module("xformers.ops")
    mask = ops.LowerTriangularMask()
    return ops.memory_efficient_attention(query, key, value, attn_bias=mask)


# By distribution.
ATTENTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "torch": torchs,
    "vllm": vllms,
    "vllm-flash-attn": early_vllms,
    "flash-attn": flash_attns,
    "xformers": xformers,
}
STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "device": device,
    "all-reduce": all_reduce,
    "triton": triton,
    "attention": attention,
}


def main() -> None:
    try:
        answer: dict[str, Any] = {"value": STEPS[sys.argv[2]](*sys.argv[3:])}
    except BaseException as error:  # noqa: BLE001 -- a module may even raise SystemExit
        describe = runpy.run_path(str(Path(__file__).with_name("errors.py")))["describe"]
        answer = {"error": describe(error)}
    os.write(int(sys.argv[1]), json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":  # processes that are spawned import this file
    main()
