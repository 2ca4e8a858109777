"""Whether libraries find the symbols that they need of torch and others."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.files import go_on
from vllm_nix.binaries.linker import LinkerError, Object
from vllm_nix.binaries.symbols import demangle
from vllm_nix.text import some
from vllm_nix.verification.alternatives import unused
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.known import is_torchs
from vllm_nix.verification.linking import Linking
from vllm_nix.verification.machine import DRIVER_LIBRARIES
from vllm_nix.verification.overridden import take_out
from vllm_nix.verification.owning import owner_of
from vllm_nix.verification.tags import is_for_another

# Names in the namespaces at, c10 and torch, as the Itanium C++ ABI mangles them.
OF_TORCH = re.compile(rb"_Z(?:N|NK|TI|TV|TS)(?:2at|3c10|5torch)")
CXX11 = b"cxx11"


@check("torch-abi", "Libraries built against torch find every symbol that they need", slow=True)
def torch_abi(context: Context) -> Iterator[Finding]:
    """What was compiled against torch finds all symbols that it needs, torch's and others.

    An extension calls torch by the mangled names of its functions. Built for another release of
    torch, or for the other C++11 ABI of strings (`_GLIBCXX_USE_CXX11_ABI`; its names have `cxx11`
    in them), it fails to load with "undefined symbol", which vLLM reports late or hides. Of
    torch with all that it loads, vLLM, flash-attention, and all that loads one of torch's libraries,
    every undefined symbol that is not weak is looked for where the loader looks: in Python and what
    it loads, in what torch opens for all to see, and in the libraries that the file needs, and those
    that they need. Nothing is loaded. Where a library is not found, or without Python, only torch's
    own names are judged.

    Seen in vllm#13608, vllm#20361, vllm#10300. The tables are described in the System V gABI, chapter
    4; the order of the search in ld.so's "Lookup scope" (Drepper, How To Write Shared Libraries,
    1.5.4)."""
    folder = _torch(context) / "lib"
    own = {file.name for file in folder.glob("*.so*")}
    if not own:
        raise SkipError("torch has no libraries")
    users = tuple(_users(context, own))
    defined: set[bytes] = set()
    for name in own if users else ():
        try:
            defined |= context.facts.symbols(folder / name).defined
        except (ElfError, OSError):
            raise SkipError(f"torch/lib/{name} cannot be read: see `elf`", harmless=False) from None
    abi = 1 if any(OF_TORCH.match(name) and CXX11 in name for name in defined) else 0
    for file in users:
        go_on(context.facts.stop)
        try:
            missing = _undefined(context, file, defined)
        except ElfError as error:
            yield failed(
                f"its symbols cannot be read: {error}",
                where=context.place(file),
                fix="install the wheel that owns it again: the file is damaged",
            )
            continue
        except (OSError, LinkerError):
            continue  # see `elf`
        if of_torch := sorted(name for name in missing if OF_TORCH.match(name)):
            yield _failed(context, file, of_torch, abi)
        if others := sorted(missing - set(of_torch)):
            yield _undefined_elsewhere(context, file, others)
    yield ok(f"{len(users)} libraries; torch has C++11 ABI {abi}" if users else "no such library")


def _torch(context: Context) -> Path:
    return next(iter(context.packages.find("torch")), context.site_packages / "torch")


def _users(context: Context, own: set[str]) -> Iterator[Path]:
    """The libraries of torch, vLLM and flash-attention, what torch loads, and what loads one of torch's."""
    found = context.facts.binaries().images
    loaded = {os.path.normpath(one.path) for one in context.linking().torch.objects}
    others = unused(context)
    for file, image in found.items():
        package = context.packages.top(file)
        is_built = (is_torchs(package) or str(file) in loaded) and image.type == _SHARED
        for_torch = image.interpreter is None and (own & set(image.needed) or is_built)
        if for_torch and file not in others and not is_for_another(context, file):
            yield file


_SHARED = 3  # ET_DYN


def _undefined(context: Context, file: Path, of_torch: set[bytes]) -> set[bytes]:
    """The names that a library needs and that nothing it sees defines. Raises ElfError, OSError or
    LinkerError for what `elf` reports."""
    symbols = context.facts.symbols(file)
    left = set(symbols.needed - symbols.defined)
    if isinstance(context.interpreter, str) or not left:
        left = {name for name in left - of_torch if OF_TORCH.match(name)}
        return left - _beside(context, file) if left else left
    linking = context.linking()
    if file not in linking.images:
        return set()  # for another processor: see `machine`
    process = linking.torch.copy()
    scope, missing = process.load(str(file), linking.images[file])
    left, is_whole = _without(context, left, symbols.wanted, (*scope, *linking.shared))
    others = list(_loaded_with(linking, file)) if left else []
    left, are_whole = _without(context, left, symbols.wanted, others)
    if missing:
        left -= _beside(context, file)
    there = {name for one in others for name in (Path(one.path).name, one.image.soname)}
    away = {
        name
        for one in (*scope, *others)
        for name in one.image.needed
        if process.names.get(name) is None and name not in there
    }
    is_whole = is_whole and are_whole and not missing
    if away <= DRIVER_LIBRARIES and is_whole:
        return {name for name in left if not (away and OF_DRIVER.match(name))}
    return {name for name in left if OF_TORCH.match(name)}


def _without(
    context: Context, names: set[bytes], wanted: Mapping[bytes, str], objects: Iterable[Object]
) -> tuple[set[bytes], bool]:
    """The names that none of the objects defines, in the version that is wanted, and whether all that
    each defines is known."""
    is_whole = True
    for one in objects:
        if not names:
            break
        try:
            known = context.facts.symbols(Path(one.path))
        except (ElfError, OSError):
            is_whole = False
            continue
        is_whole &= known.known
        names = {name for name in names if not known.defines(name, wanted.get(name))}
    return names, is_whole


def _loaded_with(linking: Linking, library: Path) -> Iterator[Object]:
    """What a library sees besides: all that is loaded as one with it, by what needs it. torch's are."""
    if any(os.path.normpath(one.path) == str(library) for one in linking.torch.objects):
        yield from linking.torch.objects
    own = {library.name, linking.images[library].soname}
    for file, image in linking.images.items():
        if own & set(image.needed):
            with suppress(LinkerError):
                yield from linking.torch.copy().load(str(file), image)[0]


# Names of the driver's libraries, which are another machine's: cuLaunchKernel, nvmlInit_v2.
OF_DRIVER = re.compile(rb"cu[A-Z]|nvml[A-Z]|cuvid|NvEnc")
# By whose names begin like this: who should have them, and what to do. The first that fits counts.
_OWNERS = (
    (
        re.compile(rb"(?:aoti_)?torch_"),  # its stable ABI (torch/csrc/stable)
        "torch",
        "it was built against another torch: install them as one set, as their locks say",
    ),
    (re.compile(rb"_?Py[A-Z]|_Py_"), "Python", "install a build of it for this Python"),
    (re.compile(rb"cuda[A-Z]|__cuda"), "libcudart", "install a build of it for torch's CUDA"),
    (re.compile(rb"_{0,2}nvJitLink"), "libnvJitLink", "install it in the release of torch's lock"),
    (re.compile(rb"cublas|cusparse|cusolver|cufft|curand|nvrtc|cudnn"), "CUDA's libraries", ""),
    (re.compile(rb"nccl[A-Z]"), "libnccl", "install NVIDIA's NCCL in the release of torch's lock"),
    (
        re.compile(rb"_Z(?:T[VIS])?N?K?S[abdiost]|__cxa|__gxx"),
        "libstdc++",
        "install a newer libstdc++",
    ),
)
# How the libraries of an owner begin.
_STEMS = {name: name for name in ("libcudart", "libnccl", "libnvJitLink", "libstdc++")}


def _undefined_elsewhere(context: Context, file: Path, missing: list[bytes]) -> Finding:
    name = missing[0]
    rows = (row for row in _OWNERS if row[0].match(name))
    _, owner, how = next(rows, (None, "one of the libraries that it needs", ""))
    version = context.facts.symbols(file).wanted.get(name)
    return failed(
        _needs_symbols([name + f"@{version}".encode() if version else name, *missing[1:]]),
        where=context.place(file),
        expected=f"{owner} to define it{_in_words(name)}",
        fix=take_out(context, file, _STEMS.get(owner, ""), name)
        or how
        or f"install {owner_of(context, file)} and what it needs again, as one set, as their locks say",
    )


def _needs_symbols(missing: list[bytes]) -> str:
    return f"needs {some([name.decode(errors='replace') for name in missing], 1)}"


def _in_words(name: bytes) -> str:
    words = demangle(name)
    return f": it is {words}" if words else ""


def _beside(context: Context, file: Path) -> set[bytes]:
    """What the libraries of the environment that `file` needs define, wherever they lie."""
    images = context.facts.binaries().images
    names = images[file].needed
    defined: set[bytes] = set()
    for library in images:
        if library.name in names:
            with suppress(ElfError, OSError):  # see `elf`
                defined |= context.facts.symbols(library).defined
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
            fix="install the build of it that matches this torch (cxx11abi in its name)",
        )
    return failed(
        _needs_symbols(missing),
        where=context.place(file),
        expected=f"symbols that torch {version} has{_in_words(missing[0])}",
        fix=take_out(context, file, "libtorch")
        or take_out(context, file, "libc10")
        or "it was built against another torch: install them as one set, as their locks say",
    )


def _has_text(name: bytes) -> bool:
    """Whether the function takes a string: `Ss` is the old ABI's, `cxx11` the new one's."""
    return CXX11 in name or b"Ss" in name
