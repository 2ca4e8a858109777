"""Reads what packaging needs to know of an ELF file: what it loads, and what it carries.

Covers 64-bit little-endian files, the only kind on the systems that we build for (System V gABI,
chapters 4 and 5). Files are mapped, not loaded, and never trusted: every offset and count is held
against the file's size, every table and text against a limit, and all that is wrong is an
`ElfError`. The loader's view is taken from the segments, so stripped section headers do not matter.
"""

import errno
import mmap
import os
import stat
import struct
from _collections_abc import Iterator, Sequence

from vllm_nix.light import NamedTuple

MAGIC = b"\x7fELF"

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
SHT_NULL, SHT_NOBITS = 0, 8
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_RUNPATH = 0, 1, 5, 10, 14, 15, 29
DT_FLAGS_1 = 0x6FFFFFFB

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
_DYNAMIC = struct.Struct("<QQ")

# Far above any real file; without them a hostile one could have us build gigabytes of objects.
_MOST_ENTRIES = 1 << 18
_MOST_TEXT = 1 << 26
_MOST_TEXT_PER_BYTE = 16


class ElfError(Exception):
    """Not an ELF file that we can read; the message says what is wrong and at which offset."""


class Dynamic(NamedTuple):
    """What the file says to the dynamic loader; search paths are split at ":", in order, as written. `flags`
    are those of DT_FLAGS_1."""

    needed: tuple[str, ...]
    soname: str | None
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    flags: int = 0


class Segment(NamedTuple):
    """A program header; sizes and offsets in bytes. The file holds `size` bytes of it."""

    type: int
    flags: int
    offset: int
    address: int
    size: int
    memory_size: int


class Section(NamedTuple):
    """A section header; of type SHT_NOBITS, it takes no room in the file."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int


class Elf(NamedTuple):
    """`machine` and `type` are the header's numbers (62 x86-64, 183 AArch64, 190 CUDA)."""

    machine: int
    type: int
    interpreter: str | None
    dynamic: Dynamic | None
    sections: tuple[Section, ...]
    segments: tuple[Segment, ...]

    @property
    def needed(self) -> tuple[str, ...]:
        """The names that the file asks for (DT_NEEDED)."""
        return self.dynamic.needed if self.dynamic else ()

    @property
    def soname(self) -> str | None:
        """The name that the file goes by once it is loaded (DT_SONAME)."""
        return self.dynamic.soname if self.dynamic else None


def read(path: str | os.PathLike[str]) -> Elf:
    """Read the headers of a file. Raises ElfError, which then names the file, or OSError."""
    try:
        with mapped(path) as data:
            return parse(data)
    except ElfError as error:
        raise ElfError(f"{os.fspath(path)}: {error}") from None


def mapped(path: str | os.PathLike[str]) -> mmap.mmap:
    """The bytes of a regular, non-empty file (else ElfError), mapped read-only, and to be closed."""
    status = os.stat(path)  # noqa: PTH116 -- importing pathlib takes longer than reading a small file
    if not stat.S_ISREG(status.st_mode):
        raise ElfError("not a regular file")
    if not status.st_size:
        raise ElfError("an empty file")
    with open(path, "rb") as file:  # noqa: PTH123
        return whole(file.fileno())


def whole(descriptor: int) -> mmap.mmap:
    """An open file, mapped read-only. Raises OSError, but MemoryError for what is no fault of the file's."""
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        raise


def parse(data: bytes | mmap.mmap | memoryview) -> Elf:
    """Read the headers of an ELF image in memory. Nothing of the result refers to `data`."""
    with memoryview(data) as image:
        return _parse(image)


def has_section(data: bytes | mmap.mmap | memoryview, prefix: bytes) -> bool:
    """Whether an ELF image has a section whose name begins so; of the rest, nothing is read.

    Raises ElfError. In a tenth of `parse`'s time, which counts for thousands of small images."""
    with memoryview(data) as image:
        *_, headers, names = _header(image)
        if names >= max(len(headers), 1):
            raise _no_names(headers, names)
        if not names:
            return False
        offset, size = headers[names][4:6]
        _check(image, offset, size, "string table")
        strings = bytes(image[offset : offset + size])
        return any(strings.startswith(prefix, header[0]) for header in headers)


def _header(
    image: memoryview,
) -> tuple[int, int, int, int, int, list[tuple[int, ...]], int]:
    """Machine, type, the program headers' offset, number and size, the section headers, and which
    section has their names."""
    if bytes(image[:4]) != MAGIC:
        raise ElfError("not an ELF file: no magic number at offset 0")
    if len(image) < HEADER.size:
        raise ElfError(f"header cut off at offset {len(image):#x}")
    ident, kind, machine, _, _, phoff, shoff, _, _, phsize, phnum, shsize, shnum, names = (
        HEADER.unpack_from(image)
    )
    if ident[4] != 2:
        raise ElfError(f"not a 64-bit ELF file: class {ident[4]} at offset 0x4")
    if ident[5] != 1:
        raise ElfError(f"not a little-endian ELF file: encoding {ident[5]} at offset 0x5")

    headers: list[tuple[int, ...]] = []
    if shoff:
        if shsize != SECTION.size:
            raise ElfError(f"section headers of {shsize} bytes, not 64, at offset 0x3a")
        # Numbers too large for the header are in the first section, which is otherwise unused.
        (first,) = _table(image, SECTION, shoff, 1, "section header")
        shnum = shnum or first[5]
        names = first[6] if names == 0xFFFF else names
        phnum = first[7] if phnum == 0xFFFF else phnum
        headers = list(_table(image, SECTION, shoff, shnum, "section headers"))
    return machine, kind, phoff, phnum, phsize, headers, names


def _parse(image: memoryview) -> Elf:
    machine, kind, phoff, phnum, phsize, headers, names = _header(image)
    if phnum and phsize != SEGMENT.size:
        raise ElfError(f"program headers of {phsize} bytes, not 56, at offset 0x36")

    segments = tuple(
        Segment(type_, flags, offset, address, size, memory_size)
        for type_, flags, offset, address, _, size, memory_size, _ in _table(
            image, SEGMENT, phoff, phnum, "program headers"
        )
    )
    for segment in segments:
        _check(image, segment.offset, segment.size, "segment")
    return Elf(
        machine=machine,
        type=kind,
        interpreter=_interpreter(image, segments),
        dynamic=_dynamic(image, segments),
        sections=_sections(image, headers, names),
        segments=segments,
    )


def _sections(image: memoryview, headers: list[tuple[int, ...]], names: int) -> tuple[Section, ...]:
    for _, type_, _, _, offset, size, *_ in headers:
        if type_ not in (SHT_NULL, SHT_NOBITS):
            _check(image, offset, size, "section")
    if names >= max(len(headers), 1):
        raise _no_names(headers, names)
    # Number 0 means: no names.
    strings = _Strings(image, *headers[names][4:6]) if names else None
    return tuple(
        Section(strings.at(name) if strings else "", type_, flags, address, offset, size)
        for name, type_, flags, address, offset, size, *_ in headers
    )


def _no_names(headers: Sequence[object], names: int) -> ElfError:
    return ElfError(f"section names in section {names} of {len(headers)}, at offset 0x3e")


def _interpreter(image: memoryview, segments: tuple[Segment, ...]) -> str | None:
    segment = _single(segments, PT_INTERP, "PT_INTERP")
    return _Strings(image, segment.offset, segment.size).at(0) if segment else None


def _dynamic(image: memoryview, segments: tuple[Segment, ...]) -> Dynamic | None:
    segment = _single(segments, PT_DYNAMIC, "PT_DYNAMIC")
    if not segment:
        return None
    rows = list(_tags(image, segment))
    needed = [value for tag, value in rows if tag == DT_NEEDED]
    values = dict(rows)
    if not needed and not values.keys() & {DT_SONAME, DT_RPATH, DT_RUNPATH}:
        return Dynamic((), None, (), ())
    if DT_STRTAB not in values or DT_STRSZ not in values:
        raise ElfError(f"dynamic section without string table at offset {segment.offset:#x}")
    size = values[DT_STRSZ]
    strings = _Strings(image, place(segments, values[DT_STRTAB], size)[0], size)

    def paths(tag: int) -> tuple[str, ...]:
        text = strings.at(values[tag]) if tag in values else ""
        return tuple(text.split(":")) if text else ()

    return Dynamic(
        needed=tuple(map(strings.at, needed)),
        soname=strings.at(values[DT_SONAME]) if DT_SONAME in values else None,
        rpath=paths(DT_RPATH),
        runpath=paths(DT_RUNPATH),
        flags=values.get(DT_FLAGS_1, 0),
    )


def dynamic_values(data: bytes | mmap.mmap | memoryview, image: Elf) -> dict[int, int]:
    """The values of the dynamic section by their tags, of a file whose headers are `image`; of a tag that
    is there several times, the last one."""
    segment = _single(image.segments, PT_DYNAMIC, "PT_DYNAMIC")
    if not segment:
        return {}
    with memoryview(data) as view:
        return dict(_tags(view, segment))


def _tags(image: memoryview, segment: Segment) -> Iterator[tuple[int, int]]:
    """The tags of the dynamic section and their values, up to its end."""
    count = segment.size // _DYNAMIC.size
    for tag, value in _table(image, _DYNAMIC, segment.offset, count, "dynamic section"):
        if tag == DT_NULL:
            return
        yield tag, value


def place(segments: Sequence[Segment], address: int, size: int = 1) -> tuple[int, int]:
    """Where in the file so many bytes at an address are, and how many its segment has from there.

    Raises ElfError."""
    for segment in segments:
        start = address - segment.address
        if segment.type == PT_LOAD and start >= 0 and start + size <= segment.size:
            return segment.offset + start, segment.size - start
    raise ElfError(f"{size} bytes at address {address:#x} are in no segment")


def _single(segments: tuple[Segment, ...], type_: int, name: str) -> Segment | None:
    found = [segment for segment in segments if segment.type == type_]
    if len(found) > 1:
        raise ElfError(f"{len(found)} segments {name}, the second at offset {found[1].offset:#x}")
    return found[0] if found else None


def _check(image: memoryview, offset: int, size: int, what: str) -> None:
    if offset + size > len(image):
        raise ElfError(
            f"{what} of {size} bytes at offset {offset:#x} goes beyond the file's {len(image)}"
        )


def _table(
    image: memoryview, layout: struct.Struct, offset: int, count: int, what: str
) -> Iterator[tuple[int, ...]]:
    if count > _MOST_ENTRIES:
        raise ElfError(f"{what} at offset {offset:#x}: {count} entries, more than {_MOST_ENTRIES}")
    size = count * layout.size
    _check(image, offset, size, what)
    return layout.iter_unpack(bytes(image[offset : offset + size]))


class _Strings:
    """A table of NUL-terminated texts. It gives out a limited amount, as texts may overlap."""

    def __init__(self, image: memoryview, offset: int, size: int) -> None:
        _check(image, offset, size, "string table")
        self._image = image
        self._start = offset
        self._end = offset + size
        self._left = min(_MOST_TEXT, _MOST_TEXT_PER_BYTE * len(image))

    def at(self, index: int) -> str:
        start = stop = self._start + index
        while stop < self._end:
            part = bytes(self._image[stop : min(stop + 256, self._end)])
            length = part.find(0)
            stop += len(part) if length < 0 else length
            if stop - start > self._left:
                raise ElfError(f"overlapping or endless text at offset {start:#x}")
            if length >= 0:
                self._left -= stop - start
                # A name that is no UTF-8 can be shown this way, and never matches a file.
                return bytes(self._image[start:stop]).decode("utf-8", "backslashreplace")
        raise ElfError(f"text without an end at offset {start:#x}")
