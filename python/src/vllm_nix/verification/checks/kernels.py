"""FlashInfer's kernels: which are compiled already, and which will be at the first request."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vllm_nix.binaries.files import open_regular
from vllm_nix.gpu.compat import Verdict
from vllm_nix.gpu.device import Device
from vllm_nix.verification.check import Context, Finding, SkipError, check, ok
from vllm_nix.verification.checks.compiling import cannot_compile, severity
from vllm_nix.verification.checks.gpu_code import libraries

# Where FlashInfer looks before it compiles (flashinfer/jit/env.py): NAME/NAME.so in each.
COMPILED = ("flashinfer_jit_cache*/jit_cache/*/*.so", "flashinfer/data/aot/*/*.so")
ATTENTION = "batch_prefill_with_kv_cache"
# Minutes that one core took for 8.6: docs/kernels.md.
MINUTES = {"sampling": 3, ATTENTION: 4}
SAMPLER = re.compile(rb"^ +VLLM_USE_FLASHINFER_SAMPLER: bool = True$", re.MULTILINE)
PREFERS = re.compile(rb"\.FLASHINFER,\s+\w+\.FLASH_ATTN,")  # _get_backend_priorities, for 10.x
DOWNLOADED = ", unless NVIDIA's server answers, which has other kernels compiled"
FEW = "8.7"  # Orin has 16 multiprocessors, and FlashInfer 0.7 samples with more alone


@check("kernels", "FlashInfer's kernels: there, or compiled at the first request", slow=True)
def kernels(context: Context) -> Iterator[Finding]:
    """Which of FlashInfer's kernels are there for the device, and which are compiled when they are
    first used.

    FlashInfer compiles its modules with nvcc at first use, for minutes without a word, unless they are
    in flashinfer-jit-cache, a wheel of its own version. vLLM asks it for `sampling` at its start, for
    requests with top-k or top-p, and for attention where no other library has kernels for the
    device, or where vLLM prefers it: on 10.x, with kernels that NVIDIA has compiled where they can be
    downloaded. What a user has compiled before lies in ~/.cache/flashinfer and is not looked at.
    That is no fault, but where it cannot: vLLM then ends at its start. For attention,
    `attention` says so.

    Seen in vllm#49349, vllm#54529, vllm#49497.
    """
    devices = context.gpus()
    if context.installed("flashinfer-python") is None or context.installed("vllm") is None:
        context.follow("vllm")
        raise SkipError("FlashInfer is not installed, or no vLLM")
    there = [file for pattern in COMPILED for file in context.packages.glob(pattern)]
    for device in devices:
        usable = _usable(context, device, there)
        if usable:
            yield ok(f"{device}: compiled already: {', '.join(map(_short, usable))}")
        late = [name for name in _asked(context, device) if not _has(usable, name)]
        for name in late:
            if lack := _lack(context, device, name):
                yield lack
                continue
            unless = "" if name != ATTENTION or device.capability.major != 10 else DOWNLOADED
            yield ok(
                f"{device}: {_short(name)} is compiled at first use{unless}: {MINUTES[name]} minutes of one core"
            )
        if not usable and not late:
            yield ok(f"{device}: vLLM asks FlashInfer for none by itself")


def _lack(context: Context, device: Device, name: str) -> Finding | None:
    """What keeps FlashInfer from compiling what vLLM samples with, which it takes without asking."""
    if name != "sampling" or isinstance(context.interpreter, str):
        return None
    if (lack := cannot_compile(context, device)) is None:
        return None
    problem, fix = lack
    return severity(context)(
        f"{device}: vLLM starts with FlashInfer's sampling, which cannot be compiled: {problem}",
        where="flashinfer-python",
        fix=f"{fix}; or VLLM_USE_FLASHINFER_SAMPLER=0, to do without",
    )


def _usable(context: Context, device: Device, there: list[Path]) -> list[str]:
    """The modules, by FlashInfer's names, whose code the device runs."""
    judged = {library.path: found for library, found in context.facts.judged(device)}
    return [
        file.stem
        for file in there
        if file in judged and (judged[file].verdict.runs or judged[file].verdict is Verdict.UNKNOWN)
    ]


def _asked(context: Context, device: Device) -> Iterator[str]:
    """What this vLLM asks FlashInfer for by itself."""
    if _samples(context, device):
        yield "sampling"
    first = PREFERS.search(_source(context, "vllm/platforms/cuda.py"))
    if not libraries(context, device) or (device.capability.major == 10 and first):
        yield ATTENTION


def _samples(context: Context, device: Device) -> bool:
    name = "VLLM_USE_FLASHINFER_SAMPLER"
    counts = b"num_compute_units" in _source(context, "vllm/v1/sample/ops/topk_topp_sampler.py")
    if counts and str(device.capability) == FEW:
        return False
    if chosen := os.environ.get(name) or context.parameter("run", "env", name):
        return str(chosen) != "0"
    return SAMPLER.search(_source(context, "vllm/envs.py")) is not None


def _source(context: Context, name: str) -> bytes:
    for file in context.packages.glob(name):
        with suppress(OSError), open_regular(file) as stream:
            return stream.read(1 << 20)
    return b""


def _has(usable: list[str], name: str) -> bool:
    return any(module.startswith(name) for module in usable)


def _short(name: str) -> str:
    """`attention bf16 128` for the name that FlashInfer makes of all parameters."""
    if found := re.match(
        rf"{ATTENTION}_dtype_q_(\w+?)_dtype_kv_(\w+?)_dtype_o_.*head_dim_qk_(\d+)", name
    ):
        query, cache, size = found.groups()
        fa3 = ["fa3"] if name.endswith("_sm90") else []
        return " ".join(("attention", *dict.fromkeys((query, cache)), size, *fa3))
    if found := re.match(
        r"xqa_input_(\w+?)_kv_cache_(\w+?)_output_.*head_dim_(\d+)_head_group_ratio_(\d+)_", name
    ):
        query, cache, *sizes = found.groups()
        return " ".join(("xqa", *dict.fromkeys((query, cache)), *sizes))
    return "attention" if name == ATTENTION else name
