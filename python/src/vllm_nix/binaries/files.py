"""The ELF files of an environment, read once for all the checks that look at them."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf, ElfError
from vllm_nix.binaries.walk import binaries

# Processors by their number in the header (System V gABI, e_machine); all others are devices, such
# as GPUs, whose code lies beside that of the host.
PROCESSORS = {3: "i386", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64"}
PROCESSORS |= {243: "riscv64", 258: "loongarch64"}
AARCH64 = 183
_64_BIT, _LITTLE_ENDIAN = 2, 1
_IDENT = 20  # bytes of the header up to the machine


@dataclass(frozen=True, slots=True)
class Found:
    """`images` are of 64-bit, little-endian processors and devices; `others`, of none of these, are
    given with their machine's number; `broken` says what is wrong. Separate debug files are none of
    it: nothing loads them, and they lack what their headers say."""

    images: Mapping[Path, Elf]
    others: Mapping[Path, int]
    broken: Mapping[Path, str]

    def machines(self) -> Mapping[Path, int]:
        return {file: image.machine for file, image in self.images.items()} | dict(self.others)


@dataclass(slots=True)
class ElfFiles:
    """The files below `folder`, links followed."""

    folder: Path
    _found: Found | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def found(self) -> Found:
        with self._lock:
            if self._found is None:
                self._found = _read(self.folder)
            return self._found


def _read(folder: Path) -> Found:
    images: dict[Path, Elf] = {}
    others: dict[Path, int] = {}
    broken: dict[Path, str] = {}
    for file in binaries(folder):
        if file.suffix == ".debug":  # as GDB's manual has it, "Separate Debug Files"
            continue
        try:
            if not elf.is_elf(file):
                continue
            if (machine := _other(file)) is not None:
                others[file] = machine
            else:
                images[file] = elf.read(file)
        except FileNotFoundError:
            continue  # a link to nowhere: see `record`
        except (ElfError, OSError) as error:
            broken[file] = str(error).removeprefix(f"{file}: ")
    return Found(images, others, broken)


def machine_of(file: Path) -> int | None:
    """The machine in an ELF file's header, of either word size and byte order; None for what is no
    ELF file, or too short to say. Raises OSError."""
    return _machine(_head(file)) if elf.is_elf(file) else None


def _other(file: Path) -> int | None:
    """The machine of a 32-bit or big-endian file; None for one of the kind that `elf` reads."""
    head = _head(file)
    return None if head[4:6] == bytes((_64_BIT, _LITTLE_ENDIAN)) else _machine(head)


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_IDENT)


def _machine(head: bytes) -> int | None:
    if len(head) < _IDENT:
        return None
    return int.from_bytes(head[18:20], "little" if head[5] == _LITTLE_ENDIAN else "big")
