"""The modules that matter import; one that kills its interpreter is named.

torch, numpy, safetensors, tokenizers, transformers and vllm are imported one after the other in one
process, with the environment's own interpreter, offline and with a time limit, then what else of
`INSTALLED` is there: vLLM imports without its kernels' compiler, and fails when it first needs one.
After a crash or a hang a new process goes on with the next. What stands on a module that failed is
not tried.

Seen with Triton 3.1, which needs setuptools and does not say so.
"""

import re
from collections.abc import Iterator

from vllm_nix.verification.check import BUSY, Context, Finding, check, failed, ok
from vllm_nix.verification.survey import StepError

MODULES = ("torch", "numpy", "safetensors", "tokenizers", "transformers", "vllm")
# Modules by the distribution that has them.
INSTALLED = {"triton": "triton", "vllm-ascend": "vllm_ascend", "verl": "verl"}
STEPS = tuple(("import", module) for module in (*MODULES, *INSTALLED.values()))


@check("imports", "torch, vllm and what they stand on import", steps=STEPS)
def imports(context: Context) -> Iterator[Finding]:
    absent = [module for name, module in INSTALLED.items() if not context.installed(name)]
    for step in STEPS:
        if step[1] in absent:
            continue
        command = " ".join(step)
        try:
            version = context.ask(*step)["version"]
            yield ok(f"{step[1]} {version}".strip())
        except StepError as problem:
            by_hand = f'see for yourself: {context.environment.python} -c "{command}"'
            yield failed(str(problem), where=command, cure=_cure(str(problem)) or by_hand)


def _cure(problem: str) -> str:
    if "no answer within" in problem:
        return BUSY
    missing = re.search(r"No module named '(\w+)", problem)
    return f"install what has the module {missing[1]}" if missing else ""
