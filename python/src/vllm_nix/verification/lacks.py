"""What files of an environment do not get, looked up as ld.so(8) would."""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.binaries.elf import Elf
from vllm_nix.binaries.files import go_on
from vllm_nix.binaries.linker import LinkerError, Missing, Object, Process
from vllm_nix.paths import real
from vllm_nix.verification import symbol_versions
from vllm_nix.verification.alternatives import unused
from vllm_nix.verification.check import Context, SkipError
from vllm_nix.verification.environment import NotRun
from vllm_nix.verification.known import ATTENTION, EVERY_START
from vllm_nix.verification.linking import Linking, is_found_as
from vllm_nix.verification.opened import is_opened_before, requires
from vllm_nix.verification.survey import StepError

# What torch really loads, asked where it is in doubt; not if it does not import.
TORCHS_MAPS = ("maps", "torch")
_OF_LIBTORCH = ("libtorch", "libc10")


@dataclass(frozen=True, slots=True)
class Lack:
    """What a file does not get: names that are `nowhere`, and those that are `elsewhere` in the
    environment, with the place; `versions` of symbols, the library, and the newest that it has; names
    for which what the loader finds `stops` it, with the place; and `displaced`: versions that the library
    of the file's own choice has, its folder, and the file that `import torch` loads before it."""

    nowhere: list[str]
    elsewhere: Mapping[str, Path]
    versions: list[tuple[str, str, str]]
    stops: Mapping[str, str]
    displaced: list[tuple[str, str, str]]


def lacks(context: Context) -> Iterator[tuple[Path, Lack | LinkerError]]:
    """What each file of an environment does not get, if anything; LinkerError for one that meets a bound."""
    linking = context.linking()
    missing: dict[Path, list[str]] = {}
    versions: dict[Path, list[tuple[str, str, str]]] = {}
    stops: dict[Path, dict[str, str]] = {}
    displaced: dict[Path, list[tuple[str, str, str]]] = {}
    whole: set[str] = set()  # what is found to load, by itself or with what needs it
    others, early = unused(context), _early(context)
    for file, image in linking.images.items():
        go_on(context.facts.stop)
        if file in others:
            continue
        if image.interpreter is not None and isinstance(context.interpreter, str):
            continue  # a program, which Python's variables may have find what it needs
        try:
            process, scope, absent = _loaded(context, linking, file, image)
        except LinkerError as error:
            yield file, error
            continue
        absent = (*absent, *early.get(file, ()))
        lacking = {missed.by.path for missed in absent}
        whole |= {os.path.normpath(one.path) for one in scope if one.path not in lacking}
        own = [one for one in absent if one.by.path == str(file) or not _is_own(context, one)]
        names = [one.name for one in own if not one.at]
        if at := {one.name: one.at for one in own if one.at}:
            stops[file] = at
        if names:
            missing[file] = list(dict.fromkeys(names))
        if found := list(symbol_versions.absent(context.facts, process, file)):
            versions[file] = found
        elif image.interpreter is None and (found := list(_displaced(context, process, file))):
            displaced[file] = found
    whole -= set(map(str, early))
    kinds = {_kind(Path(path)) for path in whole}
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for file, image in linking.images.items():
        for name in {file.name, image.soname or ""}:
            by_name[name].append(file)
    for file in sorted(missing.keys() | versions.keys() | stops.keys() | displaced.keys()):
        names = missing.get(file, []) if str(file) not in whole else []
        left = [
            name
            for name in names
            if not any(is_opened_before(context, file, at) for at in by_name.get(name, ()))
        ]
        if any(name in by_name for name in left):
            loaded, is_tried = _mapped(context, missing)
            certain = () if is_tried else {one.name for one in early.get(file, ())}
            left = [
                name
                for name in left
                if name in certain
                or loaded.isdisjoint({real(file), *map(real, by_name.get(name, ()))})
            ]
        elsewhere = {
            name: called
            for name in left
            if (called := [place for place in by_name.get(name, ()) if is_found_as(place, name)])
        }
        nowhere = [name for name in left if name not in elsewhere]
        if not is_essential(context, file) and _kind(file) in kinds:
            nowhere = []
        stopped = stops.get(file, {}) if str(file) not in whole else {}
        if nowhere or elsewhere or stopped or file in versions or file in displaced:
            places = {name: found[0] for name, found in elsewhere.items()}
            later = displaced.get(file, [])
            yield file, Lack(nowhere, places, versions.get(file, []), stopped, later)


def is_essential(context: Context, file: Path) -> bool:
    """Whether a file is of what every start of vLLM loads, as far as is known."""
    package = context.packages.top(file)
    return bool(context.manifest) or package in EVERY_START or package.startswith(ATTENTION)


def _kind(file: Path) -> tuple[Path, str]:
    """What a file has in common with those for other releases of what it needs: torchcodec has one for
    each of FFmpeg, and loads the first that works."""
    return file.parent, re.sub(r"[0-9]+", "#", file.name)


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
    is_torchs = package in EVERY_START or any(
        name.startswith(_OF_LIBTORCH) for name in image.needed
    )
    process = (linking.torch if is_torchs else linking.bare).copy()
    scope, missing = process.load(str(file), image)
    if missing and not is_torchs and _requires_torch(context, file):
        process = linking.torch.copy()
        scope, missing = process.load(str(file), image)
    return process, scope, missing


def _displaced(context: Context, process: Process, file: Path) -> Iterator[tuple[str, str, str]]:
    """Versions that a file finds where it is loaded by itself, and not after `import torch`."""
    after = context.linking().torch
    for version, library, _ in symbol_versions.absent(context.facts, after, file):
        chosen, first = process.names.get(library), after.names[library]
        if chosen and first and chosen.path != first.path:
            yield version, str(Path(chosen.path).parent), first.path


def _requires_torch(context: Context, file: Path) -> bool:
    owner = context.facts.records().owner(file)
    return owner is not None and any(requires(text, "torch") for text in owner.requires)


def _early(context: Context) -> Mapping[Path, list[Missing]]:
    """What `import torch` does not find at its time, by the file that asks for it, or by the one that it
    loads where the other is not the environment's."""
    found: defaultdict[Path, list[Missing]] = defaultdict(list)
    for first, missed in context.linking().missed.items():
        for one in missed:
            found[Path(os.path.normpath(one.by.path)) if _is_own(context, one) else first].append(
                one
            )
    return found


def _is_own(context: Context, missed: Missing) -> bool:
    """Whether it is a file of the environment that lacks something, which is named by itself."""
    return Path(os.path.normpath(missed.by.path)) in context.linking().images


def _mapped(context: Context, missing: Collection[Path]) -> tuple[set[Path], bool]:
    """The files that `import torch` really loads, and whether that was tried: if it cannot be, those that it
    would load that miss nothing."""
    with suppress(StepError, SkipError):
        try:
            return {real(file) for file in context.ask(*TORCHS_MAPS)["files"]}, True
        except NotRun:
            pass
    if not (isinstance(context.interpreter, str) or context.environment.quick):
        return set(), True  # it does not import
    files = (Path(one.path) for one in context.linking().torch.objects)
    return {real(file) for file in files if file not in missing}, False
