"""Removes what only debuggers read from libraries and programs of an unpacked wheel.

    strip.py OUT PATTERN...

A pattern is as leave_out.py's. What is loaded stays the same to the byte, at the same address; GNU strip
drops what patchelf left without a section. The removed sections' headers stay as unused ones (SHT_NULL),
for symbols name sections by number. RECORD stays true.
"""

import mmap
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import record

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
# type, flags, offset, address, physical, size, in memory, alignment
SEGMENT = struct.Struct("<IIQQQQQQ")
# name, type, flags, address, offset, size, link, info, alignment, entry
SECTION = struct.Struct("<IIQQQQIIQQ")
ELF64 = b"\x7fELF\x02\x01"
LOAD = 1
NULL, NOBITS = 0, 8
ALLOC = 0x2
NAMES = (b".symtab", b".symtab_shndx", b".strtab", b".gnu_debugdata", b".gnu_debuglink")
PREFIXES = (b".debug_", b".zdebug_")


class StripError(Exception):
    pass


@dataclass(frozen=True)
class Cut:
    """`size` bytes from `start`; the rest up to `end`, for alignment's sake, becomes zeros."""

    start: int
    end: int
    size: int


def main() -> None:
    out, *patterns = sys.argv[1:]
    [site] = (
        file.parents[1] for file in Path(out).glob("lib/python*/site-packages/*.dist-info/RECORD")
    )
    changed = [path for path in sorted(matches(site, patterns)) if strip(path)]
    record.update(site, changed, [])


def matches(site: Path, patterns: list[str]) -> set[Path]:
    found = {path for pattern in patterns for path in site.glob(pattern)}
    return {path for path in found if path.is_file() and not path.is_symlink()}


def strip(path: Path) -> bool:
    """Whether anything was removed. Exits where sections are not as linkers lay them out."""
    with path.open("rb") as file:
        if file.read(len(ELF64)) != ELF64:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                cuts, patches = plan(data)
            except (StripError, struct.error, IndexError) as error:
                sys.exit(f"{path}: {error}")
            if not any(cut.size for cut in cuts):
                return False
            new = path.with_name(f".{path.name}.new")
            with new.open("xb") as target:
                copy(data, cuts, target)
                for offset, patch in patches:
                    target.seek(offset)
                    target.write(patch)
    new.chmod(path.stat().st_mode)
    new.replace(path)
    return True


def plan(data: mmap.mmap) -> tuple[list[Cut], list[tuple[int, bytes]]]:
    """What goes, and the tables of what stays, at offsets of the new file."""
    header = list(HEADER.unpack_from(data))
    segments = table(data, SEGMENT, header[5], header[10])
    sections = table(data, SECTION, header[6], header[12])
    names = sections[header[13]][4]
    gone = [section for section in sections if is_for_debuggers(data, section, names)]
    stay = [section for section in sections if section not in gone]
    if any(sections[section[6]] in gone for section in stay):
        raise StripError("a section that stays refers to its symbols")
    kept = [
        (0, HEADER.size),
        (header[5], header[5] + len(segments) * SEGMENT.size),
        (header[6], header[6] + len(sections) * SECTION.size),
        *((segment[2], segment[2] + segment[5]) for segment in segments),
        *((section[4], section[4] + section[5]) for section in stay if section[1] != NOBITS),
    ]
    cuts = list(cuts_of(gone, [(low, high) for low, high in kept if high > low], segments))

    new_sections = [[0] * len(one) if one in gone else one for one in sections]
    for one, offset in [*((one, 2) for one in segments), *((one, 4) for one in new_sections)]:
        one[offset] = moved(one[offset], cuts)
    header[5], header[6] = moved(header[5], cuts), moved(header[6], cuts)
    return cuts, [
        (0, HEADER.pack(*header)),
        (header[5], b"".join(SEGMENT.pack(*one) for one in segments)),
        (header[6], b"".join(SECTION.pack(*one) for one in new_sections)),
    ]


def table(data: mmap.mmap, layout: struct.Struct, start: int, count: int) -> list[list[int]]:
    return [list(layout.unpack_from(data, start + row * layout.size)) for row in range(count)]


def is_for_debuggers(data: mmap.mmap, section: list[int], names: int) -> bool:
    start = names + section[0]
    name = data[start : data.find(b"\0", start)]
    is_named = name in NAMES or name.startswith(PREFIXES)
    return is_named and not section[2] & ALLOC and section[1] not in (NULL, NOBITS)


def cuts_of(
    gone: list[list[int]], kept: list[tuple[int, int]], segments: list[list[int]]
) -> Iterator[Cut]:
    """What goes in one piece: sections with nothing but padding between them."""

    def is_free(start: int, end: int) -> bool:
        return not any(low < end and start < high for low, high in kept)

    spans = sorted((section[4], section[4] + section[5]) for section in gone)
    while spans:
        start, end = spans.pop(0)
        while spans and is_free(end, spans[0][1]):
            end = max(end, spans.pop(0)[1])
        if not is_free(start, end):
            raise StripError("a section for debuggers lies in what is loaded")
        # An offset stays congruent to its address.
        behind = [segment[7] for segment in segments if segment[0] == LOAD and segment[2] >= end]
        align = max([8, *behind])
        yield Cut(start, end, (end - start) // align * align)


def moved(offset: int, cuts: list[Cut]) -> int:
    return offset - sum(cut.size for cut in cuts if offset >= cut.end)


def copy(data: mmap.mmap, cuts: list[Cut], target: BinaryIO) -> None:
    position = 0
    with memoryview(data) as view:
        for cut in cuts:
            target.write(view[position : cut.start])
            target.write(bytes(cut.end - cut.start - cut.size))
            position = cut.end
        target.write(view[position:])


if __name__ == "__main__":
    main()
