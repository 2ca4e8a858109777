"""Reads the table of a static library: `ar` archives with GNU or BSD long names (ar(5))."""

import mmap
from _collections_abc import Iterator

from vllm_nix.light import NamedTuple

MAGIC = b"!<arch>\n"
THIN_MAGIC = b"!<thin>\n"

_HEADER_SIZE = 60
_LONGEST_NAME = 4096


class ArchiveError(Exception):
    """A damaged archive; the message says what is wrong and at which offset."""


class Member(NamedTuple):
    """A file in the archive: its `size` bytes are at `offset` of the archive."""

    name: str
    offset: int
    size: int


def members(data: bytes | mmap.mmap) -> Iterator[Member]:
    """The files in an archive, without symbol tables. Raises ArchiveError where damage begins."""
    if data[: len(THIN_MAGIC)] == THIN_MAGIC:
        raise ArchiveError("a thin archive: its members are separate files, name those instead")
    if data[: len(MAGIC)] != MAGIC:
        raise ArchiveError("not an archive: no magic number at offset 0")
    names = (0, 0)
    position = len(MAGIC)
    while position < len(data):
        header = data[position : position + _HEADER_SIZE]
        if header[58:] != b"`\n" or not header[48:58].strip().isdigit():
            raise ArchiveError(f"no member header at offset {position:#x}")
        size = int(header[48:58])
        start = position + _HEADER_SIZE
        end = start + size
        if end > len(data):
            raise ArchiveError(f"member of {size} bytes at offset {position:#x} is cut off")
        position = end + size % 2

        name = header[:16].rstrip(b" ")
        if name == b"//":
            names = (start, end)
        elif name.startswith(b"#1/"):
            length = _number(name[3:], min(size, _LONGEST_NAME), start)
            yield Member(_text(data[start : start + length]), start + length, size - length)
        elif name[:1] == b"/" and name[1:].isdigit():
            first = names[0] + _number(name[1:], names[1] - names[0], start)
            last = data.find(b"\n", first, min(first + _LONGEST_NAME, names[1]))
            if last < 0:
                raise ArchiveError(f"name without an end at offset {first:#x}")
            yield Member(_text(data[first:last]), start, size)
        elif name not in (b"/", b"/SYM64/"):
            yield Member(_text(name), start, size)


def _number(digits: bytes, most: int, offset: int) -> int:
    if not digits.isdigit() or int(digits) > most:
        raise ArchiveError(f"damaged name of the member at offset {offset:#x}")
    return int(digits)


def _text(name: bytes) -> str:
    return name.rstrip(b"\0").removesuffix(b"/").decode("utf-8", "backslashreplace")
