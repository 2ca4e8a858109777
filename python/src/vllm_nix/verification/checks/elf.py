"""Every library that an installed file needs is in the environment, or where its base looks.

The names that each ELF file asks for (DT_NEEDED) are looked up as ld.so(8) does: along the file's
run path, then where the interpreter's base looks, in a virtual environment where the host does. A
truncated file is found as well. A plain environment may have libraries that only some uses load, as
torchaudio has one for each release of FFmpeg: there, what torch and vLLM need is an error, the rest
a warning. The driver's libraries count as found: `live-device` tries them.
"""

from collections.abc import Iterator
from pathlib import Path

from vllm_nix import elf
from vllm_nix.elf import Elf, ElfError
from vllm_nix.targets import load_target, target_names
from vllm_nix.verification import cann, driver
from vllm_nix.verification.check import Context, Finding, check, failed, ok, warning
from vllm_nix.verification.context import lookup
from vllm_nix.verification.files import binaries
from vllm_nix.verification.linker import Linker, base_folders, host_folders

# Folders of what every start of vLLM loads.
ESSENTIAL = ("numpy", "nvidia", "safetensors", "tokenizers", "torch", "torch_npu", "triton", "vllm")
_RELOCATABLE = 1  # ET_REL: object files, which nothing loads


@check("elf", "Every ELF file is whole and finds the libraries that it needs")
def elf_files(context: Context) -> Iterator[Finding]:
    binary = context.python().binary
    images: dict[Path, Elf] = {}
    for file in binaries(context.site_packages):
        try:
            if elf.is_elf(file):
                images[file] = elf.read(file)
        except FileNotFoundError:
            continue  # a link to nowhere: see `record`
        except (ElfError, OSError) as error:
            yield failed(
                str(error).removeprefix(f"{file}: "),
                where=context.place(file),
                cure="install the wheel that owns it again",
            )
    machine = elf.read(binary).machine
    folders = base_folders(binary) + (() if context.manifest else host_folders())
    linker = Linker(folders, _provided(context, images))
    for file, image in images.items():
        if image.machine != machine or image.type == _RELOCATABLE:
            continue  # for a device, or another system: not loaded here
        if names := list(linker.missing(file, image)):
            say = failed if context.manifest or _is_essential(context, file) else warning
            yield say(
                f"needs {', '.join(names)}, which {'is' if len(names) == 1 else 'are'} nowhere",
                where=context.place(file),
                cure=f"install what has {names[0]}; or list it in wheels.optional-libraries",
            )
    yield ok(f"{len(images)} ELF files")


def _is_essential(context: Context, file: Path) -> bool:
    return file.relative_to(context.site_packages).parts[0] in ESSENTIAL


def _provided(context: Context, images: dict[Path, Elf]) -> set[str]:
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
