"""The modules that matter import; one that kills its interpreter is named.

torch, numpy, safetensors, tokenizers, transformers and vllm are imported one after the other in one
process, with the environment's own interpreter, offline and with a time limit. After a crash or a
hang a new process goes on with the next. What stands on a module that failed is not tried.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, check, failed, ok
from vllm_nix.verification.survey import StepError

MODULES = ("torch", "numpy", "safetensors", "tokenizers", "transformers", "vllm")
STEPS = tuple(("import", module) for module in MODULES)


@check("imports", "torch, vllm and what they stand on import", steps=STEPS)
def imports(context: Context) -> Iterator[Finding]:
    for step in STEPS:
        command = " ".join(step)
        try:
            version = context.ask(*step)["version"]
            yield ok(f"{step[1]} {version}".strip())
        except StepError as problem:
            yield failed(
                str(problem),
                where=command,
                cure=f'see for yourself: {context.environment.python} -c "{command}"',
            )
