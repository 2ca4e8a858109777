"""Slims shared libraries: of each fatbin, what the named devices run stays, and nothing else.

What a device runs is `compat`'s to say. A fatbin of which nothing stays gets an entry without
kernels, as nvcc's link step makes them: the CUDA runtime then answers as it did for code of another
device. What stays without having been compressed is compressed (`compression`). Code that a library
loads by itself stays, but for what it lists as we know it (cuBLASLt's `.cask_resource`), and so does
every file that is not understood in full. A new file replaces nothing before it has been read again:
each fatbin found by its wrapper, each kept entry, unpacked, and all else that is loaded the same to
the byte.
"""

import mmap
import os
import shutil
import struct
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from vllm_nix import scratch
from vllm_nix.binaries import elf, loading, shrink
from vllm_nix.binaries.shrink import Content, Part, Refused, Section, Span, size_of
from vllm_nix.errors import InputError
from vllm_nix.gpu import compression, fatbin
from vllm_nix.gpu.compat import Verdict, judge, serving
from vllm_nix.gpu.device import Device
from vllm_nix.gpu.fatbin import Contents, Entry, Fatbin
from vllm_nix.gpu.mark import Mark

_SECTIONS = (fatbin.HOST, fatbin.RELOCATABLE)
# Where NVIDIA's libraries have kernels that they load by themselves: items one after another, fatbins and
# descriptions of them, and in .data a pair of pointers for each, to its end and to its start.
_RESOURCES = ".cask_resource"
_WRAPPERS = ".nvFatBinSegment"
_WRAPPER = struct.Struct("<IIQQ")  # magic, version, the fatbin's address, more for version 2
_WRAPPER_MAGIC = 0x466243B1
_HEADER = len(fatbin.header(0))
# Code that no device gets that runs any of the library: vLLM runs on none as old as sm_52.
_STUB = fatbin.stub(52)
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Slimmed:
    """What became of a library, or would. Sizes in bytes; `after` is `before` where it stays as it is,
    and `why` says why. `serves` are the devices that run some of it; `mark` says for which it was
    slimmed before. `loads` says whether the new file was loaded; None: neither does the old one
    here, or it was not asked."""

    path: Path
    before: int
    after: int
    why: str = ""
    serves: tuple[Device, ...] = ()
    loads: bool | None = None
    mark: Mark | None = None

    @property
    def is_slimmed(self) -> bool:
        return self.after < self.before


@dataclass(slots=True)
class _Plan:
    """A library's own: which entries stay in which fatbin, and how the new file is made."""

    devices: Sequence[Device]
    contents: Contents
    kept: Mapping[int, tuple[Entry, ...]]  # by the fatbin's offset
    library: shrink.Library
    sections: Sequence[Section]
    file: shrink.Plan
    targets: Sequence[int]  # of the wrappers, in order: the fatbin's number
    resources: "_Resources | None"
    serves: tuple[Device, ...]


class _NothingToSaveError(Refused):
    def __init__(self, serves: tuple[Device, ...]) -> None:
        super().__init__("nothing to save")
        self.serves = serves


class _MarkedError(Refused):
    def __init__(self, mark: Mark, devices: Sequence[Device]) -> None:
        is_same = mark == Mark.of(devices)
        super().__init__(
            f"already slimmed for {mark}"
            if is_same
            else f"was slimmed for {mark} and has no other code: slim the original"
        )
        self.mark = mark


def is_done(path: Path, devices: Sequence[Device]) -> bool:
    """Whether a library is slimmed for these devices already."""
    with suppress(OSError, fatbin.FatbinError):
        return fatbin.read(path).mark == Mark.of(devices)
    return False


def measure(path: Path, devices: Sequence[Device]) -> Slimmed:
    """What slimming would save. Raises InputError where the file cannot be read."""
    before = _size(path)
    try:
        with elf.mapped(path) as data:
            plan = _plan(data, path, devices)
    except _NothingToSaveError as error:
        return Slimmed(path, before, before, str(error), error.serves)
    except _MarkedError as error:
        return Slimmed(path, before, before, str(error), mark=error.mark)
    except (Refused, elf.ElfError, fatbin.FatbinError) as error:
        return Slimmed(path, before, before, str(error))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    return Slimmed(path, before, plan.file.size, serves=plan.serves)


@dataclass(slots=True)
class Neighbours:
    """How new libraries are tried: beside the libraries of `folder`, by its own Python if it has
    one."""

    folder: Path
    python: Path | None = None
    _known: Mapping[str, Path] | None = field(default=None)

    def folders_for(self, library: Path) -> list[str]:
        if self._known is None:
            self._known = loading.neighbours(sorted(self.folder.rglob("*.so*")))
        return loading.folders_for(library, self._known)


# What is to be done around the renaming of a new file, given the name that it gets, the old and the new file.
Replacing = Callable[[Path, Path, Path], AbstractContextManager[None]]


def alone(_name: Path, _old: Path, _new: Path) -> AbstractContextManager[None]:
    return nullcontext()


def write(
    path: Path,
    target: Path,
    devices: Sequence[Device],
    around: Neighbours,
    replacing: Replacing = alone,
) -> Slimmed:
    """Writes a slim library, which may replace its original. A file that stays as it is is not
    written.

    Raises InputError where the file cannot be read, OSError where the new one cannot be written.
    """
    before = _size(path)
    try:
        with elf.mapped(path) as data, path.open("rb") as source:
            plan = _plan(data, path, devices)
            with scratch.file_beside(target) as (new, file):
                plan.file.write(source.fileno(), file)
                _check(plan, source.fileno(), new, file)
                loads = _loads(path, new, around)
                take_place(new, path, target)
                size = os.fstat(file).st_size
                if target.exists() and target.samefile(path):
                    os.fsync(file)
                with replacing(target, path, new):
                    new.replace(target)
    except (Refused, elf.ElfError, fatbin.FatbinError) as error:
        return Slimmed(path, before, before, str(error))
    return Slimmed(path, before, size, serves=plan.serves, loads=loads)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def take_place(new: Path, original: Path, target: Path) -> None:
    """Gives a new file the original's mode, ACL and other attributes, and the owner of what it replaces."""
    with suppress(FileNotFoundError):
        was, now = target.lstat(), new.stat()
        if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
            os.chown(new, was.st_uid, was.st_gid)
    shutil.copystat(original, new)
    os.utime(new)


def _plan(data: mmap.mmap, path: Path, devices: Sequence[Device]) -> _Plan:
    if data[:4] != elf.MAGIC:
        raise Refused("not a shared library")
    contents = fatbin.parse(data)
    if contents.damage:
        raise Refused(str(contents.damage[0]))
    if old := contents.mark:
        raise _MarkedError(old, devices)
    if not any(one.section in _SECTIONS for one in contents.fatbins):
        own = " but what it loads by itself" if contents.fatbins else ""
        raise Refused(f"no GPU code{own}")
    _check_signature(path)
    library = shrink.Library(data)
    sections = [one for one in library.sections if one.name in _SECTIONS and one.size]
    fatbins = [one for one in contents.fatbins if one.section in _SECTIONS]
    resources = _resources(library, contents, devices)
    pointers = library.pointers(sections)
    targets = _targets(data, library, sections, fatbins, pointers)
    embedded = [one for one in contents.fatbins if one.role == "embedded"]
    if not _runs(fatbins, devices) and _runs(embedded, devices):
        raise Refused("what runs on the devices is code that it loads by itself")
    kept = _kept(fatbins, devices)
    bare = {one.offset: one.entries for one in _bare(targets, fatbins)}
    kept |= bare
    packed = [(section, _content(data, section, fatbins, kept, bare)) for section in sections]
    if resources:
        packed.append((resources.section, resources.content()))
        pointers += resources.pointers
    file = library.plan(packed, pointers, Mark.of(devices).to_bytes())
    serves = tuple(
        device
        for device in devices
        if any(serving(one, device) for one in fatbins if one.role == "host")
    )
    if file is None or file.size >= len(data):
        raise _NothingToSaveError(serves)
    return _Plan(devices, contents, kept, library, sections, file, targets, resources, serves)


@dataclass(frozen=True, slots=True)
class _Resources:
    """The code that a library loads by itself, where it lists it as we know it.

    `items` are (offset, size) in the section; what is in `gone` has kernels of other devices alone. In its place comes
    a fatbin without a kernel: the driver says of both that they are not for the device.
    """

    section: Section
    items: Sequence[tuple[int, int]]
    gone: Mapping[int, Fatbin]
    pointers: Sequence[shrink.Pointer]

    def content(self) -> Content:
        parts: list[Part] = []
        moved: dict[int, tuple[int, int]] = {}
        size = 0
        for start, length in self.items:
            own: list[Part] = [Span(self.section.offset + start, length)]
            if one := self.gone.get(start):
                rest = Span(one.offset + one.size, length - one.size)
                own = [fatbin.header(len(_STUB)) + _STUB, rest]
            moved[start] = (size, sum(map(size_of, own)))
            size += moved[start][1]
            parts += own
        return Content(parts, moved)


def _resources(
    library: shrink.Library, contents: Contents, devices: Sequence[Device]
) -> _Resources | None:
    found = [one for one in library.sections if one.name == _RESOURCES and one.size]
    if len(found) != 1:
        return None
    [section] = found
    end = section.address + section.size
    try:
        pointers = {one.address: one for one in library.pointers(found, {end})}
    except Refused:
        return None
    # What is loaded behind the section begins at its end, and may be pointed to as well.
    last = max((one.target for one in pointers.values() if one.target < end), default=end)
    for address in [address for address, one in pointers.items() if one.target == end]:
        start = pointers.get(address + 8)
        if start is None or start.target != last:
            del pointers[address]
    listed = sorted(pointers.values(), key=lambda one: one.address)
    pairs = list(zip(listed[1::2], listed[::2], strict=False))
    items = sorted((start.target, stop.target) for start, stop in pairs)
    is_known = (
        len(listed) == 2 * len(items)
        and all(start.address == stop.address + 8 for start, stop in pairs)
        and [section.address, *(stop for _, stop in items)] == [*(start for start, _ in items), end]
    )
    if not is_known:
        return None
    places = [(start - section.address, stop - start) for start, stop in items]
    fatbins = {
        one.offset - section.offset: one for one in contents.fatbins if one.section == _RESOURCES
    }
    sizes = dict(places)
    gone = {
        start: one
        for start, one in fatbins.items()
        if one.size <= sizes.get(start, 0) and not _runs([one], devices)
    }
    return _Resources(section, places, gone, listed)


def _check_signature(path: Path) -> None:
    with suppress(OSError):
        if "security.ima" in os.listxattr(path):
            raise Refused("signed (security.ima)")


def _targets(
    data: mmap.mmap,
    library: shrink.Library,
    sections: Sequence[Section],
    fatbins: Sequence[Fatbin],
    pointers: Iterable[shrink.Pointer],
) -> list[int]:
    """The number of the fatbin that each wrapper points to; nothing else may point to one.

    Each has a wrapper, but for what the device linker puts first into some of NVIDIA's libraries: it
    stays in its place, whole.
    """
    numbers = {}
    for section in sections:
        for number, one in enumerate(fatbins):
            if section.offset <= one.offset < section.end:
                numbers[section.address + one.offset - section.offset] = number
    found = {pointer.address: pointer.target for pointer in pointers}
    targets = []
    for section in library.sections:
        if section.name != _WRAPPERS:
            continue
        if section.size % _WRAPPER.size:
            raise Refused(f"{_WRAPPERS} of {section.size} bytes")
        for start in range(0, section.size, _WRAPPER.size):
            magic, version, _, _ = _WRAPPER.unpack_from(data, section.offset + start)
            if magic != _WRAPPER_MAGIC or version not in (1, 2):
                raise Refused(f"a wrapper of unknown version {version} in {_WRAPPERS}")
            target = found.pop(section.address + start + 8, None)
            if target is not None:
                if target not in numbers:
                    raise Refused(f"a wrapper points into the middle of a fatbin, to {target:#x}")
                targets.append(numbers[target])
    if found:
        raise Refused(f"{len(found)} pointers to its GPU code are in no wrapper")
    bare = _bare(targets, fatbins)
    places = {section.offset for section in sections}
    if any(one.offset not in places for one in bare):
        raise Refused(f"{len(bare)} of {len(fatbins)} fatbins have no wrapper")
    return targets


def _bare(targets: Iterable[int], fatbins: Sequence[Fatbin]) -> list[Fatbin]:
    """The fatbins without a wrapper."""
    wrapped = set(targets)
    return [one for number, one in enumerate(fatbins) if number not in wrapped]


def _kept(fatbins: Sequence[Fatbin], devices: Sequence[Device]) -> dict[int, tuple[Entry, ...]]:
    for one in fatbins:
        for entry in one.entries:
            if entry.kind not in ("cubin", "ptx", "lto-ir"):
                raise Refused(f"code of unknown kind {entry.kind} at offset {entry.offset:#x}")
    linked = [one for one in fatbins if one.section == fatbin.HOST and not one.is_stub]
    if not any(serving(one, device) for one in linked for device in devices):
        _refuse_unserved(linked, devices)
    kept = {}
    # Objects for the device linker are in a library for one purpose: what was linked from them has no
    # code for the device, and the driver links their PTX.
    relinking = [
        device
        for device in devices
        if any(judge(one, device) not in _LINKED_WELL for one in linked)
    ]
    for one in fatbins:
        wanting = devices if one.section == fatbin.HOST else relinking
        wanted = {entry.offset for device in wanting for entry in serving(one, device)}
        kept[one.offset] = tuple(entry for entry in one.entries if entry.offset in wanted)
    return kept


def _runs(fatbins: Iterable[Fatbin], devices: Sequence[Device]) -> bool:
    return any(serving(one, device) for one in fatbins for device in devices)


_LINKED_WELL = (Verdict.NATIVE, Verdict.COMPATIBLE, Verdict.NOT_APPLICABLE)


def _refuse_unserved(linked: Sequence[Fatbin], devices: Sequence[Device]) -> None:
    """Kernels of other devices may go altogether; but not what a device lacks and should have."""
    if not linked:
        raise Refused("no GPU code but what the device linker takes")
    for device in devices:
        if any(judge(one, device) is not Verdict.NOT_APPLICABLE for one in linked):
            raise Refused(f"nothing in it runs on {device}")


def _content(
    data: mmap.mmap,
    section: Section,
    fatbins: Iterable[Fatbin],
    kept: Mapping[int, tuple[Entry, ...]],
    bare: Container[int],
) -> Content:
    parts: list[Part] = []
    moved: dict[int, tuple[int, int]] = {}
    size = 0
    for one in fatbins:
        if not section.offset <= one.offset < section.end:
            continue
        entries = kept[one.offset]
        compressing = section.name == fatbin.HOST and one.offset not in bare
        own = list(_parts(data, one, entries, compressing))
        total = sum(map(size_of, own))
        if total or not one.entries:
            own = [fatbin.header(total), *own]
        else:
            total = len(_STUB)
            own = [fatbin.header(total) + _STUB]
        moved[one.offset - section.offset] = (size, _HEADER + total)
        size += _HEADER + total
        parts += own
    return Content(parts, moved)


def _parts(
    data: mmap.mmap, one: Fatbin, entries: Sequence[Entry], compressing: bool
) -> Iterator[Part]:
    """The entries' bytes, headers and all."""
    ends = [entry.offset for entry in one.entries[1:]] + [one.offset + one.size]
    lengths = {
        entry.offset: end - entry.offset for entry, end in zip(one.entries, ends, strict=True)
    }
    for entry in entries:
        span = Span(entry.offset, lengths[entry.offset])
        if compressing and compression.pays(entry):
            yield compression.compress(data[span.offset : span.offset + span.size])
        else:
            yield span


def _check(plan: _Plan, source: int, path: Path, target: int) -> None:
    """Reads a new file again. Raises `Refused`: it then replaces nothing."""
    with elf.mapped(path) as data:
        new = fatbin.parse(data)
        library = shrink.Library(data)
        if new.damage or new.mark != Mark.of(plan.devices):
            raise Refused(f"the new file cannot be read: {new.damage}")
        sections = [one for one in library.sections if one.name in _SECTIONS and one.size]
        fatbins = [one for one in new.fatbins if one.section in _SECTIONS]
        pointers = library.pointers(sections)
        if _targets(data, library, sections, fatbins, pointers) != plan.targets:
            raise Refused("the new file's wrappers point to other fatbins")
        besides = list(plan.sections)
        if plan.resources:
            _check_resources(plan.resources, _resources(library, new, plan.devices), source, target)
            besides.append(plan.resources.section)
        old = [one for one in plan.contents.fatbins if one.section in _SECTIONS]
        for before, after in zip(old, fatbins, strict=True):
            _check_entries(plan.kept[before.offset], after, source, target)
        if problem := plan.library.differs(source, library, target, plan.file, besides):
            raise Refused(f"the new file has {problem}")


def _check_entries(kept: Sequence[Entry], after: Fatbin, source: int, target: int) -> None:
    if not kept and (after.is_stub or not after.entries):
        return
    if len(kept) != len(after.entries):
        raise Refused("the new file lacks GPU code that was to be kept")
    ends = [*(entry.offset for entry in after.entries[1:]), after.offset + after.size]
    for before, now, end in zip(kept, after.entries, ends, strict=True):
        if now.compression != before.compression:
            entry = compression.decompress(os.pread(target, end - now.offset, now.offset))
            if entry != os.pread(source, len(entry), before.offset):
                raise Refused("the new file has other GPU code than the old one, when unpacked")
            continue
        if not _is_same(source, before.offset, target, now.offset, end - now.offset):
            raise Refused("the new file has other GPU code than the old one")


def _check_resources(was: _Resources, now: _Resources | None, source: int, target: int) -> None:
    if now is None or len(now.items) != len(was.items):
        raise Refused("the new file lists other resources than the old one")
    for (old, size), (new, new_size) in zip(was.items, now.items, strict=True):
        if old in was.gone:
            is_right = new in now.gone and now.gone[new].is_stub
        else:
            places = (source, was.section.offset + old, target, now.section.offset + new)
            is_right = size == new_size and _is_same(*places, size)
        if not is_right:
            raise Refused("the new file has other resources than the old one")


def _is_same(source: int, before: int, target: int, after: int, size: int) -> bool:
    for start in range(0, size, _CHUNK):
        count = min(_CHUNK, size - start)
        if os.pread(source, count, before + start) != os.pread(target, count, after + start):
            return False
    return True


def _loads(path: Path, new: Path, around: Neighbours) -> bool | None:
    """Whether the new file loads as the old one does; None if that one does not load here."""
    known = around.folders_for(path)
    old = loading.load(path, known, python=around.python)
    if old.error:
        return None
    loaded = loading.load(new, [*old.folders, *known], python=around.python)
    if loaded.error:
        raise Refused(f"the new file does not load: {loaded.error}")
    return True
