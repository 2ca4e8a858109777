"""Compiled files: for which processor, what they load, which symbols they find."""

import os
import platform
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf, ElfError
from vllm_nix.binaries.files import PROCESSORS, Found, go_on
from vllm_nix.binaries.linker import Linker, LinkerError, base_folders, host_folders
from vllm_nix.targets import load_target, target_names
from vllm_nix.verification import cann
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.environment import Interpreter, lookup
from vllm_nix.verification.fixes import fix_for
from vllm_nix.verification.machine import DRIVER_LIBRARIES
from vllm_nix.verification.survey import StepError, Survey


@check("machine", "Python and libraries are for the processor of the device, or of this machine")
def machine(context: Context) -> Iterator[Finding]:
    """Python and the libraries are for one processor: the device's, the target's, or this machine's.

    A Jetson is an aarch64 machine, so that an environment made on an x86_64 one is of no use there,
    whatever its GPU code. Wheels of another platform can also come singly, by `pip install --platform`
    or from a cache that two machines share: they install, and fail when they are imported ("cannot open
    shared object file", "Exec format error"). The header of each ELF file names its processor: of
    Python's, and of each distribution's libraries, of which one at least must be for the same. Files
    for others beside it, as debuggers bring them, are no fault.

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
SHOWN = 6  # missing libraries of a package that are named
_RELOCATABLE = 1  # ET_REL: object files, which nothing loads


@check("elf", "Every ELF file is whole and finds the libraries that it needs")
def elf_files(context: Context) -> Iterator[Finding]:
    """Every library that an installed file needs is in the environment, or where its base looks.

    The names that each ELF file asks for (DT_NEEDED) are looked up as ld.so(8) does: along the file's
    run path, then where the interpreter's base looks, in a virtual environment where the host does. A
    truncated file is found as well; one for another processor is `machine`'s. A plain environment may
    have libraries that only some uses load, as torchaudio has one for each release of FFmpeg: there,
    what torch and vLLM need is an error, the rest a warning for each package, with what importing it
    says. The driver's libraries count as found: `live-device` tries them.
    """
    found = context.facts.binaries()
    for file, problem in found.broken.items():
        yield failed(problem, where=context.place(file), fix="install the wheel that owns it again")
    for path, why in found.tree.left_out.items():
        yield warning(why, where=context.place(path), fix="look there yourself, if it should count")
    away = [f"{context.place(path)} -> {end}" for path, end in found.tree.links_out.items()]
    told = f"; links out of the environment are not followed: {', '.join(away)}" if away else ""
    if isinstance(context.interpreter, str):
        if not found.images and not found.broken:
            raise SkipError("no ELF files")
        yield ok(
            f"{len(found.images)} ELF files; without Python, it is not known where they look{told}"
        )
        return
    optional: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for file, names in _missing(context, context.interpreter, found):
        if isinstance(names, LinkerError):
            fix = "install the wheel that owns it again, from where you trust"
            yield failed(str(names), where=context.place(file), fix=fix)
            continue
        package = context.packages.top(file)
        if context.manifest or package in ESSENTIAL:
            fix = f"install what has {names[0]}"
            if context.manifest:
                fix += "; or list it in wheels.optional-libraries"
            yield failed(_needs(names), where=context.place(file), fix=fix)
        else:
            optional[package].update(dict.fromkeys(names, file))
    for package, libraries in optional.items():
        yield _partly(context, package, list(libraries))
    yield ok(f"{len(found.images)} ELF files{told}")


def _partly(context: Context, package: str, names: list[str]) -> Finding:
    """The finding for a package that may well do without libraries: that it imports is tried."""
    needs, fix = _needs(names), f"install what has {names[0]}, if you use that part of {package}"
    if not package.isidentifier():
        return warning(needs, where=package, fix=fix)
    step = ("import", package)
    survey = Survey(context.environment, [step])
    try:
        survey.answer(*step)
    except StepError as problem:
        found = f"{needs}; it does not import: {problem}"
        return warning(
            found, where=package, fix=fix_for(str(problem), f"install what has {names[0]}")
        )
    return warning(needs, where=package, fix=f"{fix}; `import {package}` works without")


def _missing(
    context: Context, interpreter: Interpreter, found: Found
) -> Iterator[tuple[Path, list[str] | LinkerError]]:
    binary = interpreter.binary
    machine = elf.read(binary).machine
    folders = base_folders(binary) + (() if context.manifest else host_folders())
    # What is for a device, or for another system, is not loaded here.
    images = {file: image for file, image in found.images.items() if image.machine == machine}
    linker = Linker(folders, _provided(context, images))
    for file, image in images.items():
        if image.type == _RELOCATABLE:
            continue
        go_on(context.facts.stop)
        try:
            if names := list(linker.missing(file, image)):
                yield file, names
        except LinkerError as error:
            yield file, error


def _needs(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    are = "is" if len(names) == 1 else "are"
    return f"needs {', '.join(names[:SHOWN])}{more}, which {are} nowhere"


def _provided(context: Context, images: Mapping[Path, Elf]) -> Collection[str]:
    """Names that count as found: other files of the environment, however they come to be loaded
    before, the host's driver, and what the target says is not missed. Whether CANN is there is
    `platform-plugin`'s to say."""
    names = {file.name for file in images} | _optional(context) | DRIVER_LIBRARIES
    names |= cann.LIBRARIES.keys() if cann.applies(context.distributions) else set()
    names |= context.manifest.driver_libraries if context.manifest else set()
    return names | {image.dynamic.soname or "" for image in images.values() if image.dynamic}


def _optional(context: Context) -> set[str]:
    """The target's optional libraries; those of any target, if we do not know which this is."""
    several = (
        [context.parameters]
        if context.parameters
        else [load_target(name).data for name in target_names()]
    )
    return {name for data in several for name in lookup(data, "wheels", "optional-libraries") or ()}


# Names in the namespaces at, c10 and torch, as the Itanium C++ ABI mangles them.
OF_TORCH = re.compile(rb"_Z(?:N|NK|TI|TV|TS)(?:2at|3c10|5torch)")
CXX11 = b"cxx11"


@check("torch-abi", "Libraries built against torch find its C++ symbols", slow=True)
def torch_abi(context: Context) -> Iterator[Finding]:
    """The libraries that were compiled against torch find all of its C++ symbols.

    An extension calls torch by the mangled names of its functions. Built for another release of torch,
    or for the other C++11 ABI of strings (`_GLIBCXX_USE_CXX11_ABI`; its names have `cxx11` in them), it
    fails to load with "undefined symbol", which vLLM reports late or hides. The dynamic symbols of each
    library are compared with those that torch's own libraries define, or others of the environment that
    it needs; nothing is loaded.

    Seen in vllm#13608, vllm#20361. The table is described in the System V gABI, chapter 4.
    """
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
        try:
            needed = {name for name in context.facts.symbols(file).needed if OF_TORCH.match(name)}
        except (ElfError, OSError):
            continue  # see `elf`
        missing = sorted(needed - defined)
        if missing and (missing := sorted(needed - defined - _beside(context, file))):
            yield _failed(context, file, missing, abi)
    yield ok(f"{len(users)} libraries; torch has C++11 ABI {abi}" if users else "no such library")


def _torch(context: Context) -> Path:
    return next(iter(context.packages.find("torch")), context.site_packages / "torch")


def _users(context: Context, own: set[str]) -> Iterator[Path]:
    """The files outside of torch that load one of its libraries."""
    torch = _torch(context)
    for file, image in context.facts.binaries().images.items():
        needed = image.dynamic.needed if image.dynamic else ()
        if own & set(needed) and not file.is_relative_to(torch):
            yield file


def _beside(context: Context, file: Path) -> set[bytes]:
    """What the libraries of the environment that `file` needs define, torch's or not."""
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
        f"needs {missing[0].decode(errors='replace')}"
        + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
        where=context.place(file),
        expected=f"symbols that torch {version} has",
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
    host = [place.parent.resolve() for place in cann.places(context.parameters)]
    folders = (store, root, root.resolve(), scratch, scratch.resolve(), *host, "/dev", "/proc")
    return (*(f"{folder}/" for folder in folders), "/memfd:", "/SYSV")


def _stem(name: str) -> str:
    """The part before the version: a driver's file is libcuda.so.560.35, its soname libcuda.so.1"""
    return name.partition(".so")[0]
