"""The environment's Python, and what it imports."""

import re
from collections.abc import Iterator
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.linker import Linker, base_folders, host_folders
from vllm_nix.verification.check import BUSY, Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.environment import NotRun
from vllm_nix.verification.survey import StepError

AGAIN = "make the environment again, with the Python that it is for"


@check("interpreter", "Python starts, and is the one that this environment is for")
def interpreter(context: Context) -> Iterator[Finding]:
    """The interpreter starts, and is the one that the environment was made for.

    `bin/python` is started and asked who it is: its version beside the target's, its prefix beside the
    folder that was given, and the libraries of its binary. If it does not start, the reason is named
    (a link's end, a loader or a shell that is gone), all that needs it is skipped, and verify exits
    with 3. An environment that was moved or copied shows here: virtual environments are bound to paths.
    """
    found = context.interpreter
    python = context.environment.python
    if context.environment.files_only:
        raise NotRun
    if context.environment.is_bare:
        raise SkipError("a folder of packages alone, without an interpreter")
    if isinstance(found, str):
        yield failed(f"does not start: {found}", where=str(python), fix=AGAIN)
        return
    wanted = context.manifest.python if context.manifest else context.parameters.get("python")
    if wanted and not f"{found.version}.".startswith(f"{wanted}."):
        yield failed(
            f"Python {found.version}", where=str(python), expected=f"Python {wanted}", fix=AGAIN
        )
    if found.prefix.resolve() != context.root.resolve():
        yield failed(
            f"sys.prefix is {found.prefix}",
            where=str(python),
            expected=str(context.root),
            fix="it uses another environment's packages: make this one where it is to stay",
        )
    yield from _libraries(context, found.binary)
    yield ok(f"{found.implementation} {found.version}", str(found.binary))


def _libraries(context: Context, binary: Path) -> Iterator[Finding]:
    folders = base_folders(binary) if context.manifest else host_folders()
    for name in Linker(folders).missing(binary, elf.read(binary)):
        yield failed(
            f"needs {name}, which comes from this host",
            where=str(binary),
            expected="every library from the store",
            fix="build the interpreter against the base; it starts here by luck",
        )


MODULES = ("torch", "numpy", "safetensors", "tokenizers", "transformers", "vllm")
# Modules by the distribution that has them.
INSTALLED = {"triton": "triton", "vllm-ascend": "vllm_ascend", "verl": "verl"}
STEPS = tuple(("import", module) for module in (*MODULES, *INSTALLED.values()))


@check("imports", "torch, vllm and what they stand on import", steps=STEPS)
def imports(context: Context) -> Iterator[Finding]:
    """The modules that matter import; one that kills its interpreter is named.

    torch, numpy, safetensors, tokenizers, transformers and vllm are imported one after the other in one
    process, with the environment's own interpreter, offline and with a time limit, then what else of
    `INSTALLED` is there: vLLM imports without its kernels' compiler, and fails when it first needs one.
    After a crash or a hang a new process goes on with the next. What stands on a module that failed is
    not tried.

    Seen with Triton 3.1, which needs setuptools and does not say so.
    """
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
            yield failed(str(problem), where=command, fix=_fix(str(problem)) or by_hand)


def _fix(problem: str) -> str:
    if "no answer within" in problem:
        return BUSY
    missing = re.search(r"No module named '(\w+)", problem)
    return f"install what has the module {missing[1]}" if missing else ""
