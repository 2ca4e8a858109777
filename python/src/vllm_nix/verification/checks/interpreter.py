"""The interpreter starts, and is the one that the environment was made for.

`bin/python` is started and asked who it is: its version beside the target's, its prefix beside the
folder that was given, and the libraries of its binary. If it does not start, the reason is named
(a link's end, a loader or a shell that is gone), all that needs it is skipped, and verify exits
with 3. An environment that was moved or copied shows here: virtual environments are bound to paths.
"""

from collections.abc import Iterator
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.linker import Linker, base_folders, host_folders
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok

AGAIN = "make the environment again, with the Python that it is for"


@check("interpreter", "Python starts, and is the one that this environment is for")
def interpreter(context: Context) -> Iterator[Finding]:
    found = context.interpreter
    python = context.environment.python
    if context.environment.is_bare:
        raise SkipError("a folder of packages alone, without an interpreter")
    if isinstance(found, str):
        yield failed(f"does not start: {found}", where=str(python), cure=AGAIN)
        return
    wanted = context.manifest.python if context.manifest else context.parameters.get("python")
    if wanted and not f"{found.version}.".startswith(f"{wanted}."):
        yield failed(
            f"Python {found.version}", where=str(python), expected=f"Python {wanted}", cure=AGAIN
        )
    if found.prefix.resolve() != context.root.resolve():
        yield failed(
            f"sys.prefix is {found.prefix}",
            where=str(python),
            expected=str(context.root),
            cure="it uses another environment's packages: make this one where it is to stay",
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
            cure="build the interpreter against the base; it starts here by luck",
        )
