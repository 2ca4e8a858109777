"""ELF notes of ours (System V gABI, chapter 5): a text in a file, which `readelf --notes` shows."""

import mmap
import struct
from _collections_abc import Iterable

from vllm_nix.binaries.elf import Segment

PT_NOTE = 4
_HEADER = struct.Struct("<III")  # size of the owner's name, of the text; type
_OWNER = b"vllm-nix\0"
_TYPE = 1
# A hostile file's segments overlap, each with as many notes as the file has words.
_MOST = 1 << 16


def pack(text: bytes) -> bytes:
    """The note, of a size that is a multiple of 8: spaces follow the text."""
    text += b" " * (-len(text) % 8)
    return _HEADER.pack(len(_OWNER), len(text), _TYPE) + _OWNER + bytes(-len(_OWNER) % 4) + text


def find(data: bytes | mmap.mmap, segments: Iterable[Segment]) -> bytes | None:
    """The text of a file's first note of ours, by the file's segments. Raises ValueError."""
    seen = 0
    for segment in segments:
        if segment.type != PT_NOTE:
            continue
        position, end = segment.offset, segment.offset + segment.size
        while position + _HEADER.size <= end:
            seen += 1
            if seen > _MOST:
                raise ValueError(f"more than {_MOST} notes")
            owner, size, _ = _HEADER.unpack_from(data, position)
            name = position + _HEADER.size
            text = name + owner + -owner % 4
            if text + size > end:
                break
            if data[name : name + owner] == _OWNER:
                return bytes(data[text : text + size])
            position = text + size + -size % 4
    return None
