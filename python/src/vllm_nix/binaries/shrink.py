"""Writes a shared library anew, with less in some of its sections.

All that stays loaded keeps its address, so that code, symbols and unwind tables need no change. A
section's new content is packed to its front; the whole pages behind it leave the file, and the
PT_LOAD that held them is split in two around the hole (System V gABI, chapter 5). Pointers to what
moved are relocations of the kind RELATIVE: their addends change, and the copies that some linkers
leave in place. The program headers, now more of them, and a note move to the front of the hole, the
section headers to the end of the file; patchelf leaves both in such places too.

What is not understood in full raises `Refused` before anything is written: another kind of
relocation into the section, a symbol, a pointer to what no longer has a place, a packed table.
"""

import bisect
import mmap
import os
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from vllm_nix.binaries import elf, notes

X86_64, AARCH64 = 62, 183
NOTE_SECTION = ".note.vllm-nix"

_WORD = struct.Struct("<Q")

_PT_LOAD, _PT_PHDR = 1, 6
_PROGBITS, _SYMTAB, _SHT_NOTE, _NOBITS, _DYNSYM = 1, 2, 7, 8, 11
_WRITE, _ALLOC = 0x1, 0x2
_DT_PLTRELSZ, _DT_RELA, _DT_RELASZ, _DT_RELAENT, _DT_REL = 2, 7, 8, 9, 17
_DT_JMPREL, _DT_RELR = 23, 36
# Relocations of the ABIs that the loader meets in libraries (x86-64 psABI, table 4.9; AArch64 ELF,
# "Dynamic relocations"), without those that only programs have.
_RELATIVE = {X86_64: 8, AARCH64: 1027}
_ABSOLUTE = {X86_64: 1, AARCH64: 257}
_KNOWN = {
    X86_64: {1, 6, 7, 8, 16, 17, 18, 36, 37},
    AARCH64: {257, 1025, 1026, 1027, 1028, 1029, 1030, 1031, 1032},
}
_CHUNK = 1 << 20


class Refused(Exception):
    """Why a file is left as it is."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the old file."""

    offset: int
    size: int


Part = Span | bytes


def size_of(part: Part) -> int:
    return part.size if isinstance(part, Span) else len(part)


@dataclass(frozen=True, slots=True)
class Content:
    """What a section is to hold, in order. `moved` says what is pointed to: offset in the section
    before → offset and size after."""

    parts: Sequence[Part]
    moved: Mapping[int, tuple[int, int]]

    @property
    def size(self) -> int:
        return sum(map(size_of, self.parts))


@dataclass(slots=True)
class _Segment:
    type: int
    flags: int
    offset: int
    address: int
    physical: int
    size: int
    memory_size: int
    align: int

    def pack(self) -> bytes:
        return elf.SEGMENT.pack(*astuple(self))


@dataclass(slots=True)
class Section:
    """A section header, as in the file; `label` is the number of its name."""

    name: str
    label: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int

    @property
    def end(self) -> int:
        """Its end in the file."""
        return self.offset + (0 if self.type == _NOBITS else self.size)

    def pack(self) -> bytes:
        return elf.SECTION.pack(*astuple(self)[1:])


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer that the loader makes: at which address, to which one, and where the file has the
    relocation's addend and, if the linker left one, a copy in place."""

    address: int
    target: int
    places: tuple[int, ...]


@dataclass(slots=True)
class Plan:
    """How the new file is made: `parts` in order, and then `patches` at offsets of the new file."""

    parts: list[Part]
    patches: list[tuple[int, bytes]]
    cuts: list[tuple[int, int]]  # of the old file, in order
    changed: list[tuple[int, bytes]]  # the patches of what stays, at offsets of the old file

    @property
    def size(self) -> int:
        return sum(map(size_of, self.parts))

    def changed_in(self, start: int, size: int) -> list[tuple[int, bytes]]:
        """The changes to a stretch of the old file; none is longer than a table of segments."""
        first = bisect.bisect_left(self.changed, (start - (1 << 22), b""))
        last = bisect.bisect_left(self.changed, (start + size, b""))
        return [one for one in self.changed[first:last] if one[0] + len(one[1]) > start]

    def write(self, source: int, target: int) -> None:
        """From one open file to another, empty one. Raises OSError."""
        for part in self.parts:
            if isinstance(part, Span):
                _copy(source, target, part)
            else:
                _write(target, part)
        for offset, data in self.patches:
            if os.pwrite(target, data, offset) != len(data):
                raise OSError(f"short write at offset {offset:#x}")


class Library:
    """A shared library to be shrunk. Raises `Refused`, and ElfError where headers are damaged."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        parsed = elf.parse(data)
        if parsed.machine not in _KNOWN:
            raise Refused(f"for processors of kind {parsed.machine}, not x86_64 or aarch64")
        if parsed.type != 3 or parsed.interpreter is not None:
            raise Refused("not a shared library")
        if not parsed.sections or parsed.dynamic is None:
            raise Refused("without section headers or dynamic section")
        self.machine = parsed.machine
        self._tags = elf.dynamic_values(data, parsed)
        self._header = list(elf.HEADER.unpack_from(data))
        phoff, shoff, phnum, names = (self._header[i] for i in (5, 6, 10, 13))
        if max(phnum + 16, len(parsed.sections) + 1) >= 0xFF00:
            raise Refused("more headers than a plain ELF header counts")
        self._segments = [
            _Segment(*elf.SEGMENT.unpack_from(data, phoff + i * elf.SEGMENT.size))
            for i in range(phnum)
        ]
        self.sections = [
            Section(section.name, *elf.SECTION.unpack_from(data, shoff + i * elf.SECTION.size))
            for i, section in enumerate(parsed.sections)
        ]
        self._names = names
        self._check_end()

    def _check_end(self) -> None:
        """A signature behind all that the headers name would no longer fit."""
        phoff, shoff = self._header[5], self._header[6]
        self._end = max(
            phoff + len(self._segments) * elf.SEGMENT.size,
            shoff + len(self.sections) * elf.SECTION.size,
            *(segment.offset + segment.size for segment in self._segments),
            *(section.end for section in self.sections),
        )
        rest = len(self._data) - self._end
        if rest >= 64 or any(self._data[self._end :]):
            raise Refused(f"{rest} bytes follow the last of its sections, as a signature does")

    def place(self, address: int, size: int) -> int:
        """Where the file holds what is loaded at an address."""
        for segment in self._segments:
            start = address - segment.address
            if segment.type == _PT_LOAD and start >= 0 and start + size <= segment.size:
                return segment.offset + start
        raise Refused(f"{size} bytes at address {address:#x} are not in the file")

    def pointers(self, sections: Iterable[Section], ends: Collection[int] = ()) -> list[Pointer]:
        """All that points into these sections, or to the `ends` of some, where something else may begin.

        Raises `Refused` for other references to them.
        """
        ranges = sorted((one.address, one.address + one.size) for one in sections)
        starts = [start for start, _ in ranges]

        def is_inside(address: int) -> bool:
            index = bisect.bisect_right(starts, address) - 1
            return index >= 0 and address < ranges[index][1]

        symbols = self._symbols(is_inside)
        found = []
        for table, count in self._tables():
            words = memoryview(self._data)[table : table + count * 24].cast("Q")
            try:
                kinds = {info & 0xFFFFFFFF for info in set(words[1::3])}
                if unknown := kinds - _KNOWN[self.machine]:
                    raise Refused(f"a relocation of unknown kind {min(unknown)}")
                low, high = ranges[0][0], max(ranges[-1][1], *(end + 1 for end in ends), 0)
                if any(low <= place < high and is_inside(place) for place in words[0::3]):
                    raise Refused("a relocation changes the GPU code itself")
                hits = [
                    index
                    for index, addend in enumerate(words[2::3])
                    if low <= addend < high and (is_inside(addend) or addend in ends)
                ]
                if symbols and _ABSOLUTE[self.machine] in kinds:
                    self._check_symbolic(words, symbols, is_inside)
                for index in hits:
                    address, info, addend = words[index * 3 : index * 3 + 3]
                    if info & 0xFFFFFFFF != _RELATIVE[self.machine]:
                        raise Refused(
                            f"a relocation of kind {info & 0xFFFFFFFF} points to GPU code"
                        )
                    found.append(self._pointer(address, addend, table + index * 24 + 16))
            finally:
                words.release()
        return found

    def _pointer(self, address: int, target: int, addend: int) -> Pointer:
        copy = self.place(address, 8)
        (value,) = _WORD.unpack_from(self._data, copy)
        if value not in (0, target):
            raise Refused(f"a pointer at address {address:#x} has another value before it is set")
        return Pointer(address, target, (addend, copy) if value else (addend,))

    def _tables(self) -> Iterator[tuple[int, int]]:
        """Offset and count of the loader's relocations."""
        values = self._tags
        if _DT_RELR in values:
            raise Refused("packed relative relocations (RELR)")
        if _DT_REL in values or values.get(_DT_RELAENT, 24) != 24:
            raise Refused("relocations without addends")
        for start, size in ((_DT_RELA, _DT_RELASZ), (_DT_JMPREL, _DT_PLTRELSZ)):
            length = values.get(size, 0)
            if start in values and length:
                if length % 24:
                    raise Refused(f"a relocation table of {length} bytes")
                yield self.place(values[start], length), length // 24

    def _symbols(self, is_inside: Callable[[int], bool]) -> dict[int, int]:
        """The values of the dynamic symbols that the library defines, by number."""
        defined: dict[int, int] = {}
        for section in self.sections:
            if section.type != _DYNSYM:
                continue
            table = self._data[section.offset : section.offset + section.size // 24 * 24]
            for number, symbol in enumerate(elf.SYMBOL.iter_unpack(table)):
                if symbol[3]:
                    defined[number] = symbol[4]
        if any(map(is_inside, defined.values())):
            raise Refused("a dynamic symbol in the GPU code")
        return defined

    def _check_symbolic(
        self, words: memoryview, symbols: Mapping[int, int], is_inside: Callable[[int], bool]
    ) -> None:
        for info, addend in zip(words[1::3], words[2::3], strict=True):
            if addend and info & 0xFFFFFFFF == _ABSOLUTE[self.machine]:
                value = symbols.get(info >> 32)
                if value is not None and is_inside((value + addend) % 2**64):
                    raise Refused("a symbol with an offset points to GPU code")

    def differs(
        self, source: int, other: "Library", target: int, plan: Plan, besides: Sequence[Section]
    ) -> str:
        """Where what stays loaded is not the same in another file, by address; "" if nowhere.

        `source` and `target` are the files, open. The plan's own changes are expected.
        """
        for segment in self._segments:
            if segment.type != _PT_LOAD:
                continue
            position = segment.offset
            inside = sorted(
                (one.offset, one.end)
                for one in besides
                if segment.offset <= one.offset < segment.offset + segment.size
            )
            end = segment.offset + segment.size
            for start, stop in [*inside, (end, end)]:
                for first in range(position, start, _CHUNK):
                    size = min(_CHUNK, start - first)
                    address = segment.address + first - segment.offset
                    wanted = bytearray(os.pread(source, size, first))
                    for offset, data in plan.changed_in(first, size):
                        low, high = max(offset, first), min(offset + len(data), first + size)
                        wanted[low - first : high - first] = data[low - offset : high - offset]
                    if os.pread(target, size, other.place(address, size)) != wanted:
                        return f"other bytes than before near address {address:#x}"
                position = stop
        return ""

    def plan(
        self, contents: Sequence[tuple[Section, Content]], pointers: Iterable[Pointer], note: bytes
    ) -> Plan | None:
        """The new file; None where no whole page would go."""
        return _Planner(self, contents, pointers, note).plan()


@dataclass(slots=True)
class _Place:
    """A section to be shrunk: `used` bytes stay, and the file loses `cut`."""

    section: Section
    content: Content
    segment: _Segment
    extra: bytes = b""
    cut: tuple[int, int] = (0, 0)

    @property
    def extra_offset(self) -> int:
        return (
            self.section.offset + self.content.size + -(self.section.offset + self.content.size) % 8
        )

    @property
    def extra_address(self) -> int:
        return self.section.address + self.extra_offset - self.section.offset

    def set_cut(self, align: int) -> None:
        start = self.extra_offset + len(self.extra)
        start += -start % align
        end = self.section.end - self.section.end % align
        self.cut = (start, end) if end > start else (0, 0)

    @property
    def saved(self) -> int:
        return self.cut[1] - self.cut[0]


class _Planner:
    def __init__(
        self,
        library: Library,
        contents: Sequence[tuple[Section, Content]],
        pointers: Iterable[Pointer],
        note: bytes,
    ) -> None:
        self._library = library
        self._pointers = pointers
        self._note = note
        self._places = [
            _Place(section, content, self._segment_of(section)) for section, content in contents
        ]
        self._places.sort(key=lambda place: place.section.offset)
        loads = [one for one in library._segments if one.type == _PT_LOAD]
        self._align = max(segment.align for segment in loads)
        if self._align < 0x1000 or self._align & (self._align - 1):
            raise Refused(f"segments aligned to {self._align} bytes")

    def _segment_of(self, section: Section) -> _Segment:
        if section.type != _PROGBITS or section.flags & (_WRITE | _ALLOC) != _ALLOC:
            raise Refused(f"{section.name} is not plain read-only data")
        holders = [
            segment
            for segment in self._library._segments
            if segment.size
            and segment.offset < section.end
            and section.offset < segment.offset + segment.size
        ]
        if len(holders) != 1 or holders[0].type != _PT_LOAD:
            raise Refused(f"{section.name} is in {len(holders)} segments")
        [segment] = holders
        if (
            section.offset < segment.offset
            or section.end > segment.offset + segment.size
            or section.address - segment.address != section.offset - segment.offset
        ):
            raise Refused(f"{section.name} is not where its segment is loaded")
        for other in self._library.sections:
            if other is not section and other.offset < section.end and section.offset < other.end:
                raise Refused(f"{section.name} overlaps {other.name}")
        return segment

    def plan(self) -> Plan | None:
        for place in self._places:
            place.set_cut(self._align)
        host = max(self._places, key=lambda place: place.saved)
        note = notes.pack(self._note)
        count = len(self._library._segments) + len(self._places) + 1
        host.extra = note + bytes(count * elf.SEGMENT.size)
        host.set_cut(self._align)
        if not host.saved:
            return None

        segments = self._new_segments(host, len(note))
        host.extra = note + b"".join(segment.pack() for segment in segments)
        sections, names = self._new_sections(host, len(note))
        parts, table = self._parts(names)
        header = list(self._library._header)
        header[5] = self._moved(host.extra_offset) + len(note)
        header[6] = table
        header[10], header[12] = len(segments), len(sections)
        parts.append(b"".join(section.pack() for section in sections))
        changed = list(self._changes())
        patches = [(self._moved(offset), data) for offset, data in changed]
        old = self._library._header[5], len(self._library._segments) * elf.SEGMENT.size
        cleared = [(0, elf.HEADER.pack(*header)), (old[0], bytes(old[1]))]
        patches += [(self._moved(offset), data) for offset, data in cleared]
        return Plan(parts, patches, self._cuts(), sorted(changed + cleared))

    def _cuts(self) -> list[tuple[int, int]]:
        return [place.cut for place in self._places if place.saved]

    def _moved(self, offset: int) -> int:
        """An offset of the old file, in the new one."""
        removed = 0
        for start, end in self._cuts():
            if offset >= end:
                removed += end - start
            elif offset > start:
                return start - removed
        return offset - removed

    def _new_segments(self, host: _Place, note_size: int) -> list[_Segment]:
        cuts: dict[int, list[tuple[int, int]]] = {id(place.segment): [] for place in self._places}
        for place in self._places:
            if place.saved:
                cuts[id(place.segment)].append(place.cut)
        new = []
        for segment in self._library._segments:
            rest = replace(segment)
            for start, end in cuts.get(id(segment), ()):
                first = replace(rest)
                first.size = first.memory_size = start - rest.offset
                new.append(first)
                skipped = end - rest.offset
                rest = replace(rest)
                rest.offset, rest.address = end, rest.address + skipped
                rest.physical += skipped
                rest.size -= skipped
                rest.memory_size -= skipped
            if rest.memory_size or segment.type != _PT_LOAD or not cuts.get(id(segment)):
                new.append(rest)
        size = len(new) + 1
        address = host.extra_address
        for segment in new:
            segment.offset = self._moved(segment.offset)
            if segment.type == _PT_PHDR:
                segment.offset = self._moved(host.extra_offset) + note_size
                segment.address = segment.physical = address + note_size
                segment.size = segment.memory_size = size * elf.SEGMENT.size
        note = self._moved(host.extra_offset)
        new.append(_Segment(notes.PT_NOTE, 4, note, address, address, note_size, note_size, 4))
        return new

    def _new_sections(self, host: _Place, note_size: int) -> tuple[list[Section], bytes]:
        """The section headers, but for the offset of their names, and these names."""
        library = self._library
        strings = library.sections[library._names]
        names = library._data[strings.offset : strings.end] + NOTE_SECTION.encode() + b"\0"
        shrunk = {id(place.section): place.content.size for place in self._places}
        new = []
        for section in library.sections:
            copy = replace(section)
            copy.size = shrunk.get(id(section), section.size)
            copy.offset = self._moved(section.offset)
            new.append(copy)
        note = Section(
            name=NOTE_SECTION,
            label=strings.size,
            type=_SHT_NOTE,
            flags=_ALLOC,
            address=host.extra_address,
            offset=self._moved(host.extra_offset),
            size=note_size,
            link=0,
            info=0,
            align=4,
            entry_size=0,
        )
        new.append(note)
        new[library._names].size = len(names)
        self._sections = new
        return new, names

    def _parts(self, names: bytes) -> tuple[list[Part], int]:
        """The new file up to its section headers, and where these begin."""
        parts: list[Part] = []
        position = 0
        for place in self._places:
            section = place.section
            parts.append(Span(position, section.offset - position))
            parts += place.content.parts
            end = section.offset + place.content.size
            if place.extra:
                parts += [bytes(place.extra_offset - end), place.extra]
                end = place.extra_offset + len(place.extra)
            # What is left of the last pages was code that went: zeros, which compress away.
            if place.saved:
                parts += [bytes(place.cut[0] - end), bytes(section.end - place.cut[1])]
            else:
                parts.append(bytes(section.end - end))
            position = section.end
        tail = self._tail()
        parts.append(Span(position, tail - position))
        size = self._moved(tail)
        self._sections[self._library._names].offset = size
        table = size + len(names) + -(size + len(names)) % 8
        parts.append(names + bytes(table - size - len(names)))
        return parts, table

    def _tail(self) -> int:
        """Where the old file's section names begin, if they and the headers are its last part."""
        library = self._library
        table = int(library._header[6])
        strings = library.sections[library._names]
        others = [s.end for s in library.sections if s is not strings and s.type != 0]
        others += [segment.offset + segment.size for segment in library._segments]
        is_last = (
            0 <= table - strings.end < 16
            and table + len(library.sections) * elf.SECTION.size == library._end
            and max(others) <= strings.offset
        )
        return strings.offset if is_last else int(library._end)

    def _changes(self) -> Iterator[tuple[int, bytes]]:
        """What pointers and symbols become, at offsets of the old file."""
        moved = {
            place.section.address + before: (place.section.address + after, size)
            for place in self._places
            for before, (after, size) in place.content.moved.items()
        }
        for place in self._places:
            end = place.section.address + place.section.size
            moved.setdefault(end, (place.section.address + place.content.size, 0))
        for pointer in self._pointers:
            if pointer.target not in moved:
                raise Refused(f"a pointer into the middle of GPU code, to {pointer.target:#x}")
            target, _ = moved[pointer.target]
            if target != pointer.target:
                for offset in pointer.places:
                    yield offset, _WORD.pack(target)
        data, sections = self._library._data, self._library.sections
        indices = {i for i, s in enumerate(sections) if any(s is p.section for p in self._places)}
        for table in sections:
            if table.type != _SYMTAB:
                continue
            count = table.size // 24
            with memoryview(data)[table.offset : table.offset + count * 24] as view:
                words = view.cast("H")
                hits = [i for i, index in enumerate(words[3::12]) if index in indices]
                words.release()
            for number in hits:
                offset = table.offset + number * 24
                kind, _, _, value, size = struct.unpack_from("<BBHQQ", data, offset + 4)
                if kind & 0xF == 3:  # the section's own
                    continue
                if value not in moved:
                    raise Refused(f"a symbol in the middle of GPU code, at {value:#x}")
                new, room = moved[value]
                yield offset + 8, struct.pack("<QQ", new, min(size, room))


def _copy(source: int, target: int, span: Span) -> None:
    position, left = span.offset, span.size
    while left:
        done = os.sendfile(target, source, position, left)
        if not done:
            raise OSError(f"the file ended at offset {position:#x}")
        position, left = position + done, left - done


def _write(target: int, data: bytes) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.write(target, view[done:])
