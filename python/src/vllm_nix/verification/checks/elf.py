"""Every library that an installed file needs is in the environment, or where its base looks.

The names that each ELF file asks for (DT_NEEDED) are looked up as ld.so(8) does: along the file's
run path, then where the interpreter's base looks, in a virtual environment where the host does. A
truncated file is found as well; one for another processor is `machine`'s. A plain environment may
have libraries that only some uses load, as torchaudio has one for each release of FFmpeg: there,
what torch and vLLM need is an error, the rest a warning for each package. The driver's libraries
count as found: `live-device` tries them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf
from vllm_nix.binaries.files import Found
from vllm_nix.binaries.linker import Linker, base_folders, host_folders
from vllm_nix.targets import load_target, target_names
from vllm_nix.verification import cann, driver
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.interpreter import Interpreter
from vllm_nix.verification.manifest import lookup

# Folders of what every start of vLLM loads.
ESSENTIAL = ("numpy", "nvidia", "safetensors", "tokenizers", "torch", "torch_npu", "triton", "vllm")
SHOWN = 6  # missing libraries of a package that are named
_RELOCATABLE = 1  # ET_REL: object files, which nothing loads


@check("elf", "Every ELF file is whole and finds the libraries that it needs")
def elf_files(context: Context) -> Iterator[Finding]:
    found = context.elf_files.found()
    for file, problem in found.broken.items():
        yield failed(
            problem, where=context.place(file), cure="install the wheel that owns it again"
        )
    if isinstance(context.interpreter, str):
        if not found.images and not found.broken:
            raise SkipError("no ELF files")
        yield ok(f"{len(found.images)} ELF files; without Python, it is not known where they look")
        return
    optional: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for file, names in _missing(context, context.interpreter, found):
        package = file.relative_to(context.site_packages).parts[0]
        if context.manifest or package in ESSENTIAL:
            cure = f"install what has {names[0]}"
            if context.manifest:
                cure += "; or list it in wheels.optional-libraries"
            yield failed(_needs(names), where=context.place(file), cure=cure)
        else:
            optional[package].update(dict.fromkeys(names, file))
    for package, libraries in optional.items():
        yield warning(
            _needs(list(libraries)),
            where=package,
            cure=f"install them if you use that part of {package}; importing the rest works",
        )
    yield ok(f"{len(found.images)} ELF files")


def _missing(
    context: Context, interpreter: Interpreter, found: Found
) -> Iterator[tuple[Path, list[str]]]:
    binary = interpreter.binary
    machine = elf.read(binary).machine
    folders = base_folders(binary) + (() if context.manifest else host_folders())
    # What is for a device, or for another system, is not loaded here.
    images = {file: image for file, image in found.images.items() if image.machine == machine}
    linker = Linker(folders, _provided(context, images))
    for file, image in images.items():
        if image.type == _RELOCATABLE:
            continue
        if names := list(linker.missing(file, image)):
            yield file, names


def _needs(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    are = "is" if len(names) == 1 else "are"
    return f"needs {', '.join(names[:SHOWN])}{more}, which {are} nowhere"


def _provided(context: Context, images: Mapping[Path, Elf]) -> Collection[str]:
    """Names that count as found: other files of the environment, however they come to be loaded
    before, the host's driver, and what the target says is not missed. Whether CANN is there is
    `platform-plugin`'s to say."""
    names = {file.name for file in images} | _optional(context) | driver.LIBRARIES
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
