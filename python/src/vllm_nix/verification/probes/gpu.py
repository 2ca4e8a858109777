"""Tries one thing on the GPU and answers what came out. Runs in the environment, with its torch.

One process for each: after an error, a CUDA context is of no use.
"""

import importlib
import json
import math
import os
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


def attention() -> dict[str, Any]:
    """Attention in half precision beside the same in double, by each library that there is."""
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    batch, length, heads, size = 2, 128, 4, 64
    # Each value is one of half precision, so that only what the kernels compute differs.
    query, key, value = (
        torch.randn(batch, length, heads, size, device="cuda", dtype=torch.float16)
        for _ in range(3)
    )
    q, k, v = (part.double().transpose(1, 2) for part in (query, key, value))
    scores = q @ k.transpose(-1, -2) / math.sqrt(size)
    above = torch.ones(length, length, device="cuda", dtype=torch.bool).triu(1)
    right = (scores.masked_fill(above, -math.inf).softmax(-1) @ v).transpose(1, 2)
    errors = {}
    for name, function in _attentions(torch).items():
        got = function(query, key, value)
        errors[name] = float((got.double() - right).abs().max().item())
    return {"errors": errors}


def _attentions(torch: Any) -> dict[str, Callable[..., Any]]:
    def builtin(q: Any, k: Any, v: Any) -> Any:
        parts = (part.transpose(1, 2) for part in (q, k, v))
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(*parts, is_causal=True).transpose(1, 2)

    found: dict[str, Callable[..., Any]] = {"torch": builtin}
    try:
        flash = importlib.import_module("flash_attn").flash_attn_func
        found["flash-attn"] = lambda q, k, v: flash(q, k, v, causal=True)
    except ImportError:
        pass
    return found


STEPS: dict[str, Callable[[], dict[str, Any]]] = {
    "device": device,
    "all-reduce": all_reduce,
    "triton": triton,
    "attention": attention,
}


def main() -> None:
    try:
        answer: dict[str, Any] = {"value": STEPS[sys.argv[2]]()}
    except BaseException as error:  # noqa: BLE001 -- a module may even raise SystemExit
        text = str(error).strip() or "no message"
        answer = {"error": f"{type(error).__name__}: {text}"[:4000]}
    os.write(int(sys.argv[1]), json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":  # processes that are spawned import this file
    main()
