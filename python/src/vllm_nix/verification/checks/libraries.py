"""Compiled files: for which processor, what they load, which symbols they find."""

import os
import platform
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from shlex import quote

from packaging.utils import canonicalize_name

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf, ElfError
from vllm_nix.binaries.files import PROCESSORS, go_on, open_regular
from vllm_nix.binaries.linker import LinkerError, Missing, Object, Process
from vllm_nix.binaries.symbols import demangle
from vllm_nix.gpu.device import JetPack, jetpack_release
from vllm_nix.paths import real
from vllm_nix.verification import cann
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.environment import NotRun
from vllm_nix.verification.fixes import fix_for
from vllm_nix.verification.linking import Linking
from vllm_nix.verification.machine import DRIVER_LIBRARIES
from vllm_nix.verification.report import Status
from vllm_nix.verification.survey import StepError, Survey


@check("machine", "Python and libraries are for the processor of the device, or of this machine")
def machine(context: Context) -> Iterator[Finding]:
    """Python and the libraries are for one processor: the device's, the target's, or this machine's.

    A Jetson is an aarch64 machine, so that an environment built on an x86_64 one is of no use there,
    whatever its GPU code. Wheels of another platform can also come singly, by `pip install --platform`
    or from a cache that two machines share: they install, and fail when they are imported ("cannot open
    shared object file", "Exec format error"). The header of each ELF file names its processor: of
    Python's, and of each distribution's libraries, of which one at least must be for the same. Files
    for others beside it, as debuggers have them, are no fault.

    Seen in jetson-containers#1514.
    """
    packages, essential = _packages(context)
    own = _python(context) or _commonest(packages)
    if own is None:
        raise SkipError("no ELF files")
    wanted, because = _wanted(context)
    if wanted and own not in wanted:
        yield failed(
            f"the environment is for {own}",
            expected=f"{' or '.join(wanted)}, {because}",
            fix=f"make it on such a machine; this one's wheels are for {own}",
        )
    for name, machines in packages.items():
        if own not in machines:
            yield (failed if context.manifest or name in essential else warning)(
                f"its libraries are for {', '.join(sorted(machines))}",
                where=name,
                expected=f"{own}, as the environment",
                fix=f"install {name} again, from a wheel for {own}",
            )
    yield ok(f"{own}, {len(packages)} distributions with libraries")


def _packages(context: Context) -> tuple[dict[str, set[str]], set[str]]:
    """By distribution, or by top-level folder of what no RECORD lists: the processors that its
    libraries are for. And those that every start of vLLM loads."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    essential = set()
    records = context.facts.records()
    for file, number in context.facts.binaries().machines().items():
        if number in PROCESSORS:
            folder = context.packages.top(file).partition(".")[0]
            owner = records.owner(file)
            name = owner.name if owner else folder
            found[name].add(PROCESSORS[number])
            if folder in ESSENTIAL:
                essential.add(name)
    return dict(sorted(found.items())), essential


def _python(context: Context) -> str | None:
    """The processor that the interpreter is for, whether it starts here or not."""
    python = context.environment.python
    binary = python if isinstance(context.interpreter, str) else context.interpreter.binary
    try:
        return PROCESSORS.get(elf.read(binary).machine)
    except (ElfError, OSError):
        return None  # see `interpreter`


def _commonest(packages: dict[str, set[str]]) -> str | None:
    counts = Counter(name for machines in packages.values() for name in sorted(machines))
    return counts.most_common(1)[0][0] if counts else None


def _wanted(context: Context) -> tuple[Collection[str], str]:
    """The processors that would do, and why."""
    for device in context.devices if context.is_asked else ():
        if device.machine:
            return [device.machine], f"as {device.name} has it"
    if systems := context.parameter("systems"):
        return [system.partition("-")[0] for system in systems], "as the target has it"
    is_whole = not (context.environment.is_bare or context.environment.files_only)
    if isinstance(context.interpreter, str) and is_whole:
        return [platform.machine()], "as this machine"
    return [], ""


# Folders of what every start of vLLM loads.
ESSENTIAL = ("numpy", "nvidia", "safetensors", "tokenizers", "torch", "torch_npu", "triton", "vllm")
ATTENTION = (
    "flash_attn",
    "xformers",
)  # whose kernels vLLM takes, and torch's symbols are judged of
SHOWN = 6  # missing libraries of a package that are named


# What torch really loads, asked where it is in doubt; not if it does not import.
TORCHS_MAPS = ("maps", "torch")


@check(
    "elf",
    "Every ELF file is whole and finds the libraries that it needs",
    steps=(("import", "torch"), TORCHS_MAPS),
    imports=False,  # in doubt alone
)
def elf_files(context: Context) -> Iterator[Finding]:
    """Every library that an installed file needs is in the environment, or where its base looks.

    The names that each ELF file asks for (DT_NEEDED) are looked up as ld.so(8) does: what is loaded
    already goes by its name, Python's libraries and those of `import torch` first; then along the run
    paths (DT_RPATH of the chain that asks, or its own DT_RUNPATH) and LD_LIBRARY_PATH, then where the
    loader of this Python looks, which may be another than the host's. That a library lies somewhere in
    the environment is not enough: something must find it. In doubt, `import torch` is run, and what it
    maps counts. The versions of symbols that a file needs (GLIBC_2.34, GLIBCXX_3.4.30) must be in the
    library that it gets.

    A truncated file is found as well; one for another processor is `machine`'s. A plain environment may
    have libraries that only some uses load, as torchaudio has one for each release of FFmpeg: there,
    what torch and vLLM need is an error, the rest a warning for each package, with what importing it
    says. So is in Nix's what part of a package alone misses, if the package imports. The driver's
    libraries count as found: `live-device` tries them.

    Seen in vllm#36099, vllm#31018, vllm#52300.
    """
    found = context.facts.binaries()
    for file, problem in found.broken.items():
        yield failed(problem, where=context.place(file), fix="install the wheel that owns it again")
    for path, why in found.tree.left_out.items():
        yield warning(why, where=context.place(path), fix="look there yourself, if it should count")
    yield from _too_new_for_jetpack(context)
    away = [f"{context.place(path)} -> {end}" for path, end in found.tree.links_out.items()]
    note = f"; links out of the environment are not followed: {', '.join(away)}" if away else ""
    if isinstance(context.interpreter, str):
        note = f"; without Python, what the environment does not have counts as the host's{note}"
        if not found.images and not found.broken:
            raise SkipError("no ELF files")
    optional: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    works: dict[str, bool | None] = {}  # packages that do without what a part of them needs
    for file, lack in _problems(context):
        if isinstance(lack, LinkerError):
            fix = "install the wheel that owns it again, from where you trust"
            yield failed(str(lack), where=context.place(file), fix=fix)
            continue
        package = context.packages.top(file)
        is_essential = (
            bool(context.manifest) or package in ESSENTIAL or package.startswith(ATTENTION)
        )
        for name, place in lack.elsewhere.items():
            finding = _out_of_reach(context, file, package, name, place)
            if package not in works:
                works[package] = _works_without(context, package)
            if works[package] and context.manifest:
                fix = f"{finding.fix}, for that part of it; `import {package}` works without"
                finding = replace(finding, fix=fix)
            yield finding if works[package] is False else replace(finding, status=Status.WARNING)
        for name, at in lack.stops.items():
            yield (failed if is_essential else warning)(
                f"needs {name}; the loader finds {context.place(Path(at))} first, and stops: it is no ELF file",
                where=context.place(file),
                fix="install what owns that file again (a download that git-lfs or a mirror cut short), or delete it",
            )
        if lack.nowhere and is_essential:
            fix = _fix_missing(lack.nowhere[0], file)
            if context.manifest:
                fix += "; or list it in wheels.optional-libraries"
            yield failed(_needs(lack.nowhere), where=context.place(file), fix=fix)
        elif lack.nowhere:
            optional[package].update(dict.fromkeys(lack.nowhere, file))
        for version, library, newest in lack.versions:
            fix = f"install a build of {package} for an older system, or a newer {library}"
            yield (failed if is_essential else warning)(
                f"needs {version} of {library}, which has up to {newest}",
                where=context.place(file),
                fix=fix,
            )
    for package, libraries in optional.items():
        yield _partly(context, package, list(libraries))
    yield ok(f"{len(found.images)} ELF files{note}")


def _fix_missing(name: str, file: Path) -> str:
    """For a library that nothing has."""
    if "/" not in name:
        return fix_for(f"{name}: cannot open", f"install what has {name}")
    own = name.rpartition("/")[2]
    return (
        f"{name} is a path of where it was built: build it against a {own} with a soname, or "
        f"patchelf --replace-needed {quote(name)} {quote(own)} {quote(str(file))}"
    )


def _partly(context: Context, package: str, names: list[str]) -> Finding:
    """The finding for a package that may well do without libraries: that it imports is tried."""
    needs, fix = _needs(names), f"install what has {names[0]}, if you use that part of {package}"
    problem = _import_error(context, package)
    if problem is None:
        return warning(needs, where=package, fix=fix)
    if problem:
        found = f"{needs}; it does not import: {problem}"
        return warning(found, where=package, fix=fix_for(problem, f"install what has {names[0]}"))
    return warning(needs, where=package, fix=f"{fix}; `import {package}` works without")


def _works_without(context: Context, package: str) -> bool | None:
    """Whether a package does without what a part of it lacks; None if nobody knows."""
    if package in ESSENTIAL:
        return False
    if isinstance(context.interpreter, str) or context.environment.quick:
        return None
    if context.manifest:
        return _import_error(context, package) == ""
    return False if package.startswith(ATTENTION) else None


def _import_error(context: Context, package: str) -> str | None:
    """What importing a package says, "" if it works; None if no package has such a name, or none is to
    be imported."""
    if not package.isidentifier():
        return None
    step = ("import", package)
    try:
        Survey(context.environment, [step]).answer(*step)
    except StepError as problem:
        return str(problem)
    except NotRun:
        return None
    return ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a file does not get: names that are `nowhere`, and those that are `elsewhere` in the
    environment, with the place; `versions` of symbols, the library, and the newest that it has; and
    names for which what the loader finds `stops` it, with the place."""

    nowhere: list[str]
    elsewhere: Mapping[str, Path]
    versions: list[tuple[str, str, str]]
    stops: Mapping[str, str]


def _problems(context: Context) -> Iterator[tuple[Path, Problem | LinkerError]]:
    linking = context.linking()
    missing: dict[Path, list[str]] = {}
    versions: dict[Path, list[tuple[str, str, str]]] = {}
    stops: dict[Path, dict[str, str]] = {}
    whole: set[str] = set()  # what is found to load, by itself or with what needs it
    for file, image in linking.images.items():
        go_on(context.facts.stop)
        if image.interpreter is not None and isinstance(context.interpreter, str):
            continue  # a program, which Python's variables may have find what it needs
        try:
            process, scope, absent = _loaded(context, linking, file, image)
        except LinkerError as error:
            yield file, error
            continue
        lacking = {missed.by.path for missed in absent}
        whole |= {os.path.normpath(one.path) for one in scope if one.path not in lacking}
        own = [one for one in absent if one.by.path == str(file) or not _is_own(context, one)]
        names = [one.name for one in own if not one.at]
        if at := {one.name: one.at for one in own if one.at}:
            stops[file] = at
        if names:
            missing[file] = list(dict.fromkeys(names))
        if found := list(_versions(context, process, file)):
            versions[file] = found
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for file, image in linking.images.items():
        for name in {file.name, _soname(image)}:
            by_name[name].append(file)
    for file in sorted(missing.keys() | versions.keys() | stops.keys()):
        names = missing.get(file, []) if str(file) not in whole else []
        elsewhere = {
            name: by_name[name]
            for name in names
            if name in by_name
            and not any(_is_opened_before(context, file, at) for at in by_name[name])
        }
        if elsewhere:
            loaded = _mapped(context)
            elsewhere = {
                name: places
                for name, places in elsewhere.items()
                if loaded.isdisjoint({real(file), *map(real, places)})
            }
        nowhere = [name for name in names if name not in by_name]
        stopped = stops.get(file, {}) if str(file) not in whole else {}
        if nowhere or elsewhere or file in versions or stopped:
            places = {name: found[0] for name, found in elsewhere.items()}
            yield file, Problem(nowhere, places, versions.get(file, []), stopped)


def _loaded(
    context: Context, linking: Linking, file: Path, image: Elf
) -> tuple[Process, tuple[Object, ...], tuple[Missing, ...]]:
    """The process that loads a file, with what it loads and what is missing. A program has a process of
    its own; what belongs to torch, vLLM and what goes with them finds torch imported."""
    if image.interpreter is not None:
        process = Process(linking.bare.linker)
        missing = process.start(str(file), image)
        return process, (), missing
    package = context.packages.top(file).partition(".")[0]
    needed = image.dynamic.needed if image.dynamic else ()
    is_torchs = package in ESSENTIAL or any(name.startswith(OF_LIBTORCH) for name in needed)
    process = (linking.torch if is_torchs else linking.bare).copy()
    scope, missing = process.load(str(file), image)
    if missing and not is_torchs and _requires_torch(context, file):
        process = linking.torch.copy()
        scope, missing = process.load(str(file), image)
    return process, scope, missing


OF_LIBTORCH = ("libtorch", "libc10")


def _requires_torch(context: Context, file: Path) -> bool:
    owner = context.facts.records().owner(file)
    return owner is not None and any(requires(text, "torch") for text in owner.requires)


def _is_own(context: Context, missed: Missing) -> bool:
    """Whether it is a file of the environment that lacks something, which is named by itself."""
    return Path(os.path.normpath(missed.by.path)) in context.linking().images


def _mapped(context: Context) -> set[Path]:
    """The files that `import torch` really loads, where that can be tried."""
    try:
        return {real(file) for file in context.ask(*TORCHS_MAPS)["files"]}
    except (SkipError, NotRun, StepError):
        return set()


def _is_opened_before(context: Context, file: Path, library: Path) -> bool:
    """Whether Python is likely to have opened a library before a file: one of the same package, or of
    one that it requires, that is a module or comes with Python that opens libraries by their paths.
    How torch and vLLM do that is known, so that it is not assumed."""
    package, other = context.packages.top(file), context.packages.top(library)
    if package == other and _comes_with(context, package, library):
        return True
    if _is_known(package):
        return False
    if package == other and _is_module(context, library):
        return True
    if package != other:
        owners = context.facts.records().owner(file), context.facts.records().owner(library)
        wanted = owners[0].requires if owners[0] and owners[1] else ()
        if not any(owners[1] and requires(text, owners[1].name) for text in wanted):
            return not context.manifest and _opens_libraries(context, package)
    return _opens_libraries(context, other) or _opens_libraries(context, package)


def _is_known(package: str) -> bool:
    """Whether it is torch, vLLM, or what they take kernels from: not a plugin such as torch_npu."""
    return KNOWN.fullmatch(package.partition(".")[0]) is not None


KNOWN = re.compile(r"torch|vllm|vllm_flash_attn|flash_attn\w*|xformers")


def _comes_with(context: Context, package: str, library: Path) -> bool:
    """Whether importing a package loads one of its libraries: by its _C, if its __init__ imports that."""
    linking = context.linking()
    for folder in context.packages.find(package):
        with (
            suppress(LinkerError, OSError),
            open_regular(folder / "__init__.py") as stream,
        ):
            if not IMPORTS_C.search(stream.read(1 << 20)):
                continue
            for file, image in linking.images.items():
                if file.parent == folder and file.name.startswith("_C."):
                    scope, _ = linking.torch.copy().load(str(file), image)
                    return any(os.path.normpath(one.path) == str(library) for one in scope)
    return False


IMPORTS_C = re.compile(rb"^(?:(?:import|from) [\w.]*\._C|from [\w.]+ import _C)\b", re.MULTILINE)


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
    sources = (file for folder in folders for file in folder.glob("**/*.py"))
    for file in islice(sources, MOST_SOURCES):
        go_on(context.facts.stop)
        with suppress(OSError), open_regular(file) as stream:
            if OPENS.search(stream.read(1 << 20)):
                return True
    return False


OPENS = re.compile(rb"CDLL|load_library")  # of ctypes; of torch.ops, and NumPy's
MOST_SOURCES = 2000  # of a package, that are searched


def _out_of_reach(context: Context, file: Path, package: str, name: str, place: Path) -> Finding:
    """The finding for a library that is in the environment, where nothing looks for it."""
    stem = name.partition(".so")[0]
    loaded = context.linking().torch.names
    other = next((one for one in loaded if one.partition(".so")[0] == stem and one != name), "")
    owner = context.facts.records().owner(file)
    package = owner.name if owner else package
    if other:
        fix = f"install the build of {package} that needs {other}, which torch loads"
    else:
        fix = f"install a build of {package} whose run path leads there"
    return failed(
        f"needs {name}, which it does not find, and nothing before it loads",
        where=context.place(file),
        expected=f"a run path to {context.place(place.parent)}, where it lies",
        fix=fix,
    )


def _versions(context: Context, process: Process, file: Path) -> Iterator[tuple[str, str, str]]:
    """Versions of symbols that a file needs, and that the library that it gets does not have. One
    without any versions is taken as it is, as the loader does."""
    try:
        needed = context.facts.versions(file).needed
    except (ElfError, OSError):
        return  # see `elf`
    for library, wanted in needed.items():
        there = process.names.get(library)
        if there is None or not wanted:
            continue
        try:
            defined = context.facts.versions(Path(there.path)).defined
        except (ElfError, OSError):
            continue
        if absent := sorted(set(wanted) - defined, key=version_key) if defined else []:
            family = absent[-1].rpartition("_")[0]
            alike = [one for one in defined if one.rpartition("_")[0] == family]
            yield absent[-1], library, max(alike, key=version_key, default="none of that kind")


# Which release of glibc has what is no number (its NEWS).
_ABI = {"GLIBC_ABI_DT_RELR": "GLIBC_2.36", "GLIBC_ABI_GNU2_TLS": "GLIBC_2.42"}


def _too_new_for_jetpack(context: Context) -> Iterator[Finding]:
    """Files that need newer C and C++ libraries than the JetPack has that was asked for. A Nix build
    has its own, and so has an environment for those that are in it."""
    if context.jetpack is None or context.manifest:
        return
    release = jetpack_release(context.jetpack)
    images = context.facts.binaries().images
    inside = {file.name for file in images}
    for file in images:
        try:
            needed = context.facts.versions(file).needed
        except (ElfError, OSError):
            continue  # see above
        found = [
            (_ABI.get(version, version), library)
            for library, versions in needed.items()
            if library not in inside
            for version in versions
        ]
        newer = [(version, library) for version, library in found if _is_newer(version, release)]
        if not newer:
            continue
        version, library = max(newer, key=lambda one: version_key(one[0]))
        family = version.partition("_")[0]
        package = context.packages.top(file)
        yield (failed if package in ESSENTIAL else warning)(
            f"needs {version} of {library}",
            where=context.place(file),
            expected=f"up to {family}_{release.symbols[family]}, as JetPack {release.release} has it",
            fix=f"install a build of {package} for an older system (manylinux), or build it there",
        )


def _is_newer(version: str, release: JetPack) -> bool:
    family, _, number = version.partition("_")
    newest = release.symbols.get(family)
    if newest is None or not re.fullmatch(r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}", number):
        return False
    return version_key(version) > version_key(f"{family}_{newest}")


def version_key(version: str) -> tuple[str, tuple[int, ...]]:
    """GLIBC_2.9 is before GLIBC_2.34."""
    family, _, number = version.rpartition("_")
    return family, tuple(map(int, re.findall(r"[0-9]{1,9}", number)))


def _needs(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    are = "is" if len(names) == 1 else "are"
    return f"needs {', '.join(names[:SHOWN])}{more}, which {are} nowhere"


# Names in the namespaces at, c10 and torch, as the Itanium C++ ABI mangles them.
OF_TORCH = re.compile(rb"_Z(?:N|NK|TI|TV|TS)(?:2at|3c10|5torch)")
CXX11 = b"cxx11"


@check("torch-abi", "Libraries built against torch find every symbol that they need", slow=True)
def torch_abi(context: Context) -> Iterator[Finding]:
    """What was compiled against torch finds all symbols that it needs, torch's and others.

    An extension calls torch by the mangled names of its functions. Built for another release of
    torch, or for the other C++11 ABI of strings (`_GLIBCXX_USE_CXX11_ABI`; its names have `cxx11`
    in them), it fails to load with "undefined symbol", which vLLM reports late or hides. Of
    torch, vLLM, flash-attention, and all that loads one of torch's libraries, every undefined
    symbol that is not weak is looked for where the loader looks: in Python and what it loads, in
    what torch opens for all to see, and in the libraries that the file needs, and those that they
    need. Nothing is loaded. Where a library is not found, or without Python, only torch's own
    names are judged.

    Seen in vllm#13608, vllm#20361. The tables are described in the System V gABI, chapter 4; the
    order of the search in ld.so's "Lookup scope" (Drepper, How To Write Shared Libraries, 1.5.4)."""
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
    """The libraries of torch, vLLM and flash-attention, and what else loads one of torch's."""
    found = context.facts.binaries().images
    for file, image in found.items():
        needed = image.dynamic.needed if image.dynamic else ()
        package = context.packages.top(file)
        is_built = _is_known(package) and image.type == _SHARED
        for_torch = image.interpreter is None and (own & set(needed) or is_built)
        if for_torch and not _is_anothers(context, file):
            yield file


_SHARED = 3  # ET_DYN
_CPYTHON = re.compile(r"\.cpython-([0-9]+)[a-z]*-[^.]*\.so$")  # PEP 3149


def _is_anothers(context: Context, file: Path) -> bool:
    """Whether this is an extension for another Python: a wheel may have one for each, and Python passes
    over those whose names have another tag (vLLM 0.24's DeepGEMM)."""
    tag = _CPYTHON.search(file.name)
    if tag is None or isinstance(context.interpreter, str):
        return False
    return tag[1] != "".join(context.interpreter.version.split(".")[:2])


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
    there = {name for one in others for name in (Path(one.path).name, _soname(one.image))}
    away = {
        name
        for one in (*scope, *others)
        for name in (one.image.dynamic.needed if one.image.dynamic else ())
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
    own = {library.name, _soname(linking.images[library])}
    for file, image in linking.images.items():
        if image.dynamic and own & set(image.dynamic.needed):
            with suppress(LinkerError):
                yield from linking.torch.copy().load(str(file), image)[0]


def _soname(image: Elf) -> str:
    return (image.dynamic.soname or "") if image.dynamic else ""


# Names of the driver's libraries, which are another machine's: cuLaunchKernel, nvmlInit_v2.
OF_DRIVER = re.compile(rb"cu[A-Z]|nvml[A-Z]|cuvid|NvEnc")
# By whose names begin like this: who should have them, and what to do. The first that fits counts.
_OWNERS = (
    (re.compile(rb"_?Py[A-Z]|_Py_"), "Python", "install a build of it for this Python"),
    (re.compile(rb"cuda[A-Z]|__cuda"), "libcudart", "install a build of it for torch's CUDA"),
    (re.compile(rb"cublas|cusparse|cusolver|cufft|curand|nvrtc|cudnn"), "CUDA's libraries", ""),
    (re.compile(rb"nccl[A-Z]"), "libnccl", "install NVIDIA's NCCL in the release of torch's lock"),
    (re.compile(rb"_Z(?:T[VIS])?N?K?St|__cxa|__gxx"), "libstdc++", "install a newer libstdc++"),
)


def _undefined_elsewhere(context: Context, file: Path, missing: list[bytes]) -> Finding:
    name = missing[0]
    rows = (row for row in _OWNERS if row[0].match(name))
    _, owner, how = next(rows, (None, "one of the libraries that it needs", ""))
    package = context.packages.top(file)
    version = context.facts.symbols(file).wanted.get(name)
    return failed(
        _needs_symbols([name + f"@{version}".encode() if version else name, *missing[1:]]),
        where=context.place(file),
        expected=f"{owner} to define it{_in_words(name)}",
        fix=how or f"install {package} and what it needs again, as one set, as their locks say",
    )


def _needs_symbols(missing: list[bytes]) -> str:
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"needs {missing[0].decode(errors='replace')}{more}"


def _in_words(name: bytes) -> str:
    words = demangle(name)
    return f": it is {words}" if words else ""


def _beside(context: Context, file: Path) -> set[bytes]:
    """What the libraries of the environment that `file` needs define, wherever they lie."""
    images = context.facts.binaries().images
    dynamic = images[file].dynamic
    names = dynamic.needed if dynamic else ()
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
        fix="it was built against another torch: install them as one set, as their locks say",
    )


def _has_text(name: bytes) -> bool:
    """Whether the function takes a string: `Ss` is the old ABI's, `cxx11` the new one's."""
    return CXX11 in name or b"Ss" in name


# The last of them has vLLM load its kernels, which importing vLLM alone does not.
MAPS = ("maps", "torch", "vllm", "vllm._custom_ops")


@check("host-libraries", "A running vLLM maps nothing of the host but its driver", steps=(MAPS,))
def host_libraries(context: Context) -> Iterator[Finding]:
    """A running environment maps files of the store alone, and the host's driver.

    After vLLM and its kernels are loaded, the files that the process maps are read from proc(5). One of
    the host is a leak: it is another on the next machine. The driver's libraries, which the target
    names, must come from the host. Only for a Nix build.
    """
    manifest = context.wheels()
    files = context.ask(*MAPS)["files"]
    inside = _inside(context)
    drivers = {_stem(name) for name in manifest.driver_libraries}
    for file in files:
        if not file.startswith(inside) and _stem(Path(file).name) not in drivers:
            yield failed(
                f"{file} is mapped",
                where="a process that loaded torch, vllm and its kernels",
                expected="files of the store, and driver libraries",
                fix=f"let the wheel that loads {Path(file).name} find it in the base",
            )
    yield ok(f"{len(files)} mapped files")


def _inside(context: Context) -> tuple[str, ...]:
    store = os.environ.get("NIX_STORE_DIR", "/nix/store")
    root, scratch = context.root, context.environment.scratch
    # CANN comes in folders; what a place links to lies beside it.
    host = [real(place.parent) for place in cann.places(context.parameters)]
    folders = (store, root, real(root), scratch, real(scratch), *host, "/dev", "/proc")
    return (*(f"{folder}/" for folder in folders), "/memfd:", "/SYSV")


def _stem(name: str) -> str:
    """The part before the version: a driver's file is libcuda.so.560.35, its soname libcuda.so.1"""
    return name.partition(".so")[0]
