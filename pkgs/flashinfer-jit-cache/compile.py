"""Compiles one of FlashInfer's modules: compile.py OUT MODULE [BACKEND...].

FlashInfer is asked for the module as vLLM asks for it, of attention for each backend (attention.toml), and what it
would compile then is compiled now. OUT gets NAME/NAME.so by FlashInfer's own names, and module.json.
"""

import importlib
import json
import re
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
NAME = re.compile(
    r"(attention|xqa)-(?P<query>b?f16)(-(?P<cache>e\dm\d))?-(?P<size>\d+)(-(?P<heads>\d+))?"
)


class Asked(BaseException):
    """Carries what FlashInfer would compile. No Exception, of which FlashInfer catches some."""


def asked(spec: JitSpec) -> NoReturn:
    raise Asked(spec)


def spec_of(place: str, *arguments: Any) -> Any:
    file, _, name = place.partition(":")
    function = getattr(importlib.import_module(file), name)
    JitSpec.build_and_load = asked
    try:
        function(*arguments)
    except Asked as answer:
        return answer.args[0]
    sys.exit(f"{place} compiles nothing in this FlashInfer")


def attention(module: str, backend: str) -> Any:
    """What vLLM's prefill calls, and its decode (`use_tensor_cores=True`): no positions, no window, no cap. Its
    decode by XQA has one query for each request, and pages of 16, as vLLM's blocks if nothing else is said
    (vllm/v1/attention/backends/flashinfer.py)."""
    name, cache, *sizes = NAME.fullmatch(module).group("query", "cache", "size", "heads")
    dtype = DTYPES[name]
    kept = DTYPES[cache or name]
    if backend == "xqa":
        size, heads = map(int, sizes)
        return spec_of(
            "flashinfer.xqa:get_xqa_module", dtype, kept, 16, size, heads, False, dtype, 1
        )
    size = int(sizes[0])
    query = kept if backend == "fa3" else dtype
    place = "flashinfer.prefill:get_batch_prefill_module"
    return spec_of(
        place, backend, query, kept, dtype, torch.int32, size, size, 0, False, False, False
    )


def main() -> None:
    out, module, *backends = Path(sys.argv[1]), *sys.argv[2:]
    if module in MODULES:
        specs = [spec_of(MODULES[module])]
    else:
        specs = [attention(module, backend) for backend in backends]
    for spec in specs:
        spec.build(verbose=True)
        library = spec.jit_library_path
        (out / spec.name).mkdir(parents=True)
        shutil.copy(library, out / spec.name / library.name)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{module}: {used.ru_utime + used.ru_stime:.0f} s of processors, {used.ru_maxrss >> 10} MiB at most"
    )
    targets = CompilationContext().TARGET_CUDA_ARCHS
    facts = {
        "module": module,
        "names": [spec.name for spec in specs],
        "architectures": sorted(f"sm{major}{minor}" for major, minor in targets),
    }
    (out / "module.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
