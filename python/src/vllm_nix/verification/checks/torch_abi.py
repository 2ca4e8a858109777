"""The libraries that were compiled against torch find all of its C++ symbols.

An extension calls torch by the mangled names of its functions. Built for another release of torch,
or for the other C++11 ABI of strings (`_GLIBCXX_USE_CXX11_ABI`; its names have `cxx11` in them), it
fails to load with "undefined symbol", which vLLM reports late or hides. The dynamic symbols of each
library are compared with those that torch's own libraries define, or others of the environment that
it needs; nothing is loaded.

Seen in vllm#13608, vllm#20361. The table is described in the System V gABI, chapter 4.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.symbols import read_symbols
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok

# Names in the namespaces at, c10 and torch, as the Itanium C++ ABI mangles them.
OF_TORCH = re.compile(rb"_Z(?:N|NK|TI|TV|TS)(?:2at|3c10|5torch)")
CXX11 = b"cxx11"


@check("torch-abi", "Libraries built against torch find its C++ symbols", slow=True)
def torch_abi(context: Context) -> Iterator[Finding]:
    folder = context.site_packages / "torch" / "lib"
    own = {file.name for file in folder.glob("*.so*")}
    if not own:
        raise SkipError("torch has no libraries")
    users = tuple(_users(context, own))
    defined: set[bytes] = set()
    for name in own if users else ():
        try:
            defined |= read_symbols(folder / name).defined
        except (ElfError, OSError):
            raise SkipError(f"torch/lib/{name} cannot be read: see `elf`") from None
    abi = 1 if any(OF_TORCH.match(name) and CXX11 in name for name in defined) else 0
    for file in users:
        try:
            needed = {name for name in read_symbols(file).needed if OF_TORCH.match(name)}
        except (ElfError, OSError):
            continue  # see `elf`
        missing = sorted(needed - defined)
        if missing and (missing := sorted(needed - defined - _beside(context, file))):
            yield _failed(context, file, missing, abi)
    yield ok(f"{len(users)} libraries; torch has C++11 ABI {abi}" if users else "no such library")


def _users(context: Context, own: set[str]) -> Iterator[Path]:
    """The files outside of torch that load one of its libraries."""
    torch = context.site_packages / "torch"
    for file, image in context.elf_files.found().images.items():
        needed = image.dynamic.needed if image.dynamic else ()
        if own & set(needed) and not file.is_relative_to(torch):
            yield file


def _beside(context: Context, file: Path) -> set[bytes]:
    """What the libraries of the environment that `file` needs define, torch's or not."""
    images = context.elf_files.found().images
    dynamic = images[file].dynamic
    names = dynamic.needed if dynamic else ()
    defined: set[bytes] = set()
    for library in images:
        if library.name in names:
            with suppress(ElfError, OSError):  # see `elf`
                defined |= read_symbols(library).defined
    return defined


def _failed(context: Context, file: Path, missing: list[bytes], abi: int) -> Finding:
    other = [name for name in missing if (CXX11 in name) != bool(abi) and _has_text(name)]
    version = next((d.version for d in context.distributions if d.name == "torch"), "here")
    if other:
        found = f"built for C++11 ABI {1 - abi}: needs {other[0].decode(errors='replace')}"
        return failed(
            found,
            where=context.place(file),
            expected=f"C++11 ABI {abi}, as torch {version} has it",
            cure="install the build of it that matches this torch (cxx11abi in its name)",
        )
    return failed(
        f"needs {missing[0].decode(errors='replace')}"
        + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
        where=context.place(file),
        expected=f"symbols that torch {version} has",
        cure="it was built against another torch: install them as one set, as their locks say",
    )


def _has_text(name: bytes) -> bool:
    """Whether the function takes a string: `Ss` is the old ABI's, `cxx11` the new one's."""
    return CXX11 in name or b"Ss" in name
