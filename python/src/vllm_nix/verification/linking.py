"""What a process of the environment has loaded when it comes to import a library.

Python's own libraries come first, then those that `import torch` loads: torch's __init__ opens
libtorch_global_deps.so, whose symbols all others see, and NVIDIA's wheels where it names them
(`_preload_cuda_deps`), then torch/_C, and with it what that needs of torch/lib: libtorch_cuda_linalg.so and
libcaffe2_nvrtc.so are opened when they are first used.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf
from vllm_nix.binaries.files import PROCESSORS, open_regular
from vllm_nix.binaries.linker import (
    Linker,
    LinkerError,
    Loader,
    Missing,
    Object,
    Process,
    read_loader,
)
from vllm_nix.targets import load_target, target_names
from vllm_nix.verification import cann
from vllm_nix.verification.environment import Interpreter, Manifest, lookup
from vllm_nix.verification.facts import Facts
from vllm_nix.verification.installed import Distribution
from vllm_nix.verification.machine import DRIVER_LIBRARIES
from vllm_nix.verification.packages import Packages

_RELOCATABLE = 1  # ET_REL: object files, which nothing loads
_MOST_SOURCE = 1 << 22  # bytes of torch/__init__.py; real ones have 120 kB
# In torch's __init__: a folder below nvidia/ and the pattern of a library in it.
_PRELOADED = re.compile(
    r"""(_preload\w+\()?\s*\(?["']([a-z0-9_]{1,40})["']\s*[,:]\s*["'](lib[\w.*\[\]-]{1,60})["']"""
)


@dataclass(frozen=True, slots=True)
class Linking:
    """`bare` is a process of Python alone, `torch` one that has imported torch; `shared` are the
    objects whose symbols every library sees, `images` the environment's files that such a process can
    load, `provided` the names that count as found wherever they are; `missed` is what `import torch` itself
    does not find at its time, though it may be loaded later, by the file that it then loads. Where
    Python is not known, what the environment does not have counts as found as well."""

    bare: Process
    torch: Process
    shared: tuple[Object, ...]
    images: Mapping[Path, Elf]
    provided: Collection[str]
    missed: Mapping[Path, tuple[Missing, ...]]


def link(
    interpreter: Interpreter | str,
    manifest: Manifest | None,
    parameters: Mapping[str, Any],
    distributions: tuple[Distribution, ...],
    facts: Facts,
    packages: Packages,
) -> Linking:
    """Raises ElfError or OSError if Python's own file cannot be read, LinkerError for its bounds."""
    found = facts.binaries().images
    own = None if isinstance(interpreter, str) else elf.read(interpreter.binary)
    machine = own.machine if own else _commonest(found.values())
    images = {
        file: image
        for file, image in found.items()
        if image.machine == machine and image.type != _RELOCATABLE
    }
    provided = frozenset(_provided(manifest, parameters, distributions))
    known: dict[str, Elf | None] = {str(file): image for file, image in images.items()}
    if own is None or isinstance(interpreter, str):
        inside = {
            name
            for file, image in images.items()
            for name in (file.name, image.soname)
            if name and is_found_as(file, name)
        }
        provided |= {name for image in images.values() for name in image.needed} - inside
        bare = Process(Linker(Loader(None, ()), (), provided, known))
    else:
        loader = read_loader(interpreter.binary, own, alone=manifest is not None)
        bare = Process(Linker(loader, interpreter.library_path, provided, known))
        bare.start(str(interpreter.binary), own, interpreter.preload)
    torch, shared, missed = _with_torch(bare, images, packages)
    return Linking(bare, torch, (*bare.objects, *shared), images, provided, missed)


def is_found_as(file: Path, name: str) -> bool:
    """Whether a loader that looks in a file's folder for a name finds it. What was renamed as a wheel was
    repaired (torchvision's libz.622bbd06.so.1) may go by its old name all the same, once it is loaded."""
    return file.name == name or os.path.lexists(file.parent / name)


def _commonest(images: Iterable[Elf]) -> int | None:
    counts = Counter(image.machine for image in images if image.machine in PROCESSORS)
    return counts.most_common(1)[0][0] if counts else None


def _with_torch(
    bare: Process, images: Mapping[Path, Elf], packages: Packages
) -> tuple[Process, tuple[Object, ...], dict[Path, tuple[Missing, ...]]]:
    """The process after `import torch`, the objects whose symbols are seen from then on, and what its
    first files do not find."""
    process = bare.copy()
    missed: dict[Path, tuple[Missing, ...]] = {}
    folder = next(iter(packages.find("torch")), packages.folders[0] / "torch")
    shared: tuple[Object, ...] = ()
    deps = folder / "lib" / "libtorch_global_deps.so"
    if deps in images:
        shared, missing = process.copy().load(str(deps), images[deps])
        for file in _preloaded(folder, images, is_needed=bool(missing)):
            _load(process, file, images[file])
        shared, missed[deps] = _load(process, deps, images[deps])
    modules = [file for file in images if file.parent == folder and file.name.startswith("_C.")]
    for file in modules:
        _, missed[file] = _load(process, file, images[file])
    for file, image in images.items():
        # Without a _C, as of another Python, it is not known which of them are opened later.
        if file.parent == folder / "lib" and not modules:
            _load(process, file, image)
            process.names.setdefault(file.name, Object(str(file), image))
    return process, shared, missed


def _load(
    process: Process, file: Path, image: Elf
) -> tuple[tuple[Object, ...], tuple[Missing, ...]]:
    try:
        return process.load(str(file), image)
    except LinkerError:
        return (), ()  # a finding of `elf`, by itself


def _preloaded(folder: Path, images: Mapping[Path, Elf], is_needed: bool) -> Iterator[Path]:
    """NVIDIA's libraries that torch's __init__ loads by their paths, in its order: those that it names
    in a call of their own, and those of its table if it found any missing, or, since 2.9, at any
    rate."""
    try:
        with open_regular(folder / "__init__.py") as stream:
            text = stream.read(_MOST_SOURCE).decode("utf-8", "replace")
    except OSError:
        return
    always = "required=False" in text
    for call, place, pattern in _PRELOADED.findall(text):
        if not (call or is_needed or always):
            continue
        name = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\[0\-9\]", "[0-9]"))
        nvidia = folder.parent / "nvidia"
        folders = (nvidia / place / "lib", *sorted(nvidia.glob("cu[0-9]*/lib")))
        for where in (*folders, folder.parent / place / "lib"):
            files = sorted(f for f in images if f.parent == where and name.fullmatch(f.name))
            if files:
                yield files[0]
                break


def _provided(
    manifest: Manifest | None,
    parameters: Mapping[str, Any],
    distributions: tuple[Distribution, ...],
) -> Collection[str]:
    """Names that count as found: the host's driver, and what the target says is not missed; those of
    any target, if we do not know which this is. Whether CANN is there is `platform-plugin`'s to say."""
    targets = [parameters] if parameters else [load_target(name).data for name in target_names()]
    names = {
        name for data in targets for name in lookup(data, "wheels", "optional-libraries") or ()
    }
    names |= DRIVER_LIBRARIES
    names |= cann.LIBRARIES.keys() if cann.applies(distributions) else set()
    return names | (manifest.driver_libraries if manifest else set())
