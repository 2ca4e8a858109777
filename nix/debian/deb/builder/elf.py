"""The few facts about an ELF file that its installation needs."""

import struct
from dataclasses import dataclass
from pathlib import Path

PT_DYNAMIC, PT_INTERP = 2, 3


@dataclass(frozen=True)
class Elf:
    """A 64-bit little-endian ELF file that the dynamic loader will see."""

    path: Path
    has_interpreter: bool

    @classmethod
    def read(cls, path: Path) -> "Elf | None":
        """None unless the file is an executable or a library with a dynamic section."""
        with path.open("rb") as file:
            header = file.read(64)
            if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
                return None
            [offset] = struct.unpack_from("<Q", header, 32)
            size, count = struct.unpack_from("<HH", header, 54)
            file.seek(offset)
            table = file.read(size * count)
        kinds = {struct.unpack_from("<I", table, size * number)[0] for number in range(count)}
        return cls(path, PT_INTERP in kinds) if PT_DYNAMIC in kinds else None
