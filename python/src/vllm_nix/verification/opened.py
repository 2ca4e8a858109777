"""What Python opens by itself before a library needs it, as far as the files say so."""

import os
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path

from packaging.utils import canonicalize_name

from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.files import go_on, open_regular
from vllm_nix.binaries.linker import LinkerError
from vllm_nix.paths import real
from vllm_nix.verification.check import Context
from vllm_nix.verification.known import is_torchs

# What a package's __init__ imports, and calls of ctypes, torch.ops and NumPy.
_IMPORTS_C = re.compile(rb"^(?:(?:import|from) [\w.]*\._C|from [\w.]+ import _C)\b", re.MULTILINE)
_OPENS = re.compile(rb"CDLL|load_library")
_MOST_FILES = 20_000  # of a package, whose folder may be a link to all of the machine


def is_opened_before(context: Context, file: Path, library: Path) -> bool:
    """Whether Python is likely to have opened a library before a file: one of the same package, or of
    one that it requires, that is a module or comes with Python that opens libraries by their paths.
    How torch and vLLM do that is known, so that it is not assumed."""
    package, other = context.packages.top(file), context.packages.top(library)
    if package == other and _comes_with(context, package, library):
        return True
    if is_torchs(package):
        return False
    owner = context.facts.records().owner(file)
    if library.parent.name.endswith(".libs") and owner == context.facts.records().owner(library):
        return (
            owner is not None
        )  # what auditwheel put there; its modules find it, plugins come later
    if package == other and _is_module(context, library):
        return True
    if package != other:
        owners = context.facts.records().owner(file), context.facts.records().owner(library)
        wanted = owners[0].requires if owners[0] and owners[1] else ()
        if not any(owners[1] and requires(text, owners[1].name) for text in wanted):
            return not context.manifest and _opens_libraries(context, package)
    return _opens_libraries(context, other) or _opens_libraries(context, package)


def _comes_with(context: Context, package: str, library: Path) -> bool:
    """Whether importing a package loads one of its libraries: by its _C, if its __init__ imports that."""
    linking = context.linking()
    for folder in context.packages.find(package):
        with (
            suppress(LinkerError, OSError),
            open_regular(folder / "__init__.py") as stream,
        ):
            if not _IMPORTS_C.search(stream.read(1 << 20)):
                continue
            for file, image in linking.images.items():
                if file.parent == folder and file.name.startswith("_C."):
                    scope, _ = linking.torch.copy().load(str(file), image)
                    return any(os.path.normpath(one.path) == str(library) for one in scope)
    return False


def requires(requirement: str, name: str) -> bool:
    """Whether a requirement (PEP 508) is of the distribution of a normalised name."""
    found = re.match(r"\s*([A-Za-z0-9._-]+)", requirement)
    return found is not None and canonicalize_name(found[1]) == name


def _is_module(context: Context, file: Path) -> bool:
    with suppress(ElfError, OSError):
        return any(name.startswith(b"PyInit_") for name in context.facts.symbols(file).defined)
    return False


def _opens_libraries(context: Context, package: str) -> bool:
    """Whether a package's Python opens libraries by their paths."""
    # In Nix's environments folders are links, which glob does not follow; its files lead to the whole package.
    folders = (real(folder / "__init__.py").parent for folder in context.packages.find(package))
    files = (file for folder in folders for file in folder.glob("**/*"))
    for file in islice(files, _MOST_FILES):
        go_on(context.facts.stop)
        if file.suffix != ".py":
            continue
        with suppress(OSError), open_regular(file) as stream:
            if _OPENS.search(stream.read(1 << 20)):
                return True
    return False
