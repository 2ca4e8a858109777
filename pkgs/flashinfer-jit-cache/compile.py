"""Compiles one of FlashInfer's modules: compile.py MODULE OUT.

FlashInfer is asked for the module as vLLM asks for it, and what it would compile then is compiled now. OUT gets
NAME/NAME.so by FlashInfer's own name, and module.json.
"""

import importlib
import json
import resource
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch
from flashinfer.compilation_context import CompilationContext
from flashinfer.jit.core import JitSpec

# nix/targets/schema.toml has the same names.
MODULES = {
    "cascade": "flashinfer.cascade:get_cascade_module",
    "norm": "flashinfer.norm:get_norm_module",
    "page": "flashinfer.page:get_page_module",
    "rope": "flashinfer.rope:get_rope_module",
    "sampling": "flashinfer.sampling:get_sampling_module",
    "topk": "flashinfer.topk:get_topk_module",
}
DTYPES = {
    "bf16": torch.bfloat16,
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
    "f16": torch.float16,
}


class Asked(BaseException):
    """Carries what FlashInfer would compile. No Exception, of which FlashInfer catches some."""


def asked(spec: JitSpec) -> NoReturn:
    raise Asked(spec)


def spec_of(module: str) -> Any:
    place, arguments = MODULES.get(module), ()
    if place is None:
        place, arguments = "flashinfer.prefill:get_batch_prefill_module", attention(module)
    file, _, name = place.partition(":")
    function = getattr(importlib.import_module(file), name)
    JitSpec.build_and_load = asked
    try:
        function(*arguments)
    except Asked as answer:
        return answer.args[0]
    sys.exit(f"{place} compiles nothing in this FlashInfer")


def attention(module: str) -> tuple[Any, ...]:
    """Of vLLM's prefill, and of its decode, which takes the same module (`use_tensor_cores=True`,
    vllm/v1/attention/backends/flashinfer.py): no positions, no window, no cap."""
    _, query, *cache, size = module.split("-")
    dtype = DTYPES[query]
    kept = DTYPES[cache[0]] if cache else dtype
    return "fa2", dtype, kept, dtype, torch.int32, int(size), int(size), 0, False, False, False


def main() -> None:
    module, out = sys.argv[1], Path(sys.argv[2])
    spec = spec_of(module)
    spec.build(verbose=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{module}: {used.ru_utime + used.ru_stime:.0f} s of processors, {used.ru_maxrss >> 10} MiB at most"
    )
    (out / spec.name).mkdir(parents=True)
    library = spec.jit_library_path
    shutil.copy(library, out / spec.name / library.name)
    targets = CompilationContext().TARGET_CUDA_ARCHS
    facts = {
        "module": module,
        "name": spec.name,
        "architectures": sorted(f"sm{major}{minor}" for major, minor in targets),
    }
    (out / "module.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
