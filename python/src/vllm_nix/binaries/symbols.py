"""The dynamic symbols of a library: what it offers and what it asks others for (System V gABI)."""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import ElfError

_SYMBOL = struct.Struct("<IBBHQQ")
_WEAK = 2
_MOST_SYMBOLS = 1 << 21  # libtorch_cpu.so has 200,000
_LONGEST = 1 << 16  # bytes of a name; C++ templates reach 10,000
_MOST_TEXT = 1 << 28  # bytes of all names; a hostile table's may overlap


@dataclass(frozen=True, slots=True)
class Symbols:
    """Mangled names. `needed` are those that must be found when the library is loaded."""

    defined: frozenset[bytes]
    needed: frozenset[bytes]


def read_symbols(file: Path) -> Symbols:
    """The names in `.dynsym`; none if there is no such table. Raises ElfError or OSError."""
    with elf.mapped(file) as data:
        sections = {section.name: section for section in elf.parse(data).sections}
        if not {".dynsym", ".dynstr"} <= sections.keys():
            return Symbols(frozenset(), frozenset())
        return _read(data, sections[".dynsym"], sections[".dynstr"])


def _read(data: mmap.mmap, table: elf.Section, strings: elf.Section) -> Symbols:
    # A file may have holes: what its tables are said to hold need not be on any disk.
    count = table.size // _SYMBOL.size
    if count > _MOST_SYMBOLS:
        raise ElfError(f"{count} dynamic symbols, more than {_MOST_SYMBOLS}")
    if strings.size > _MOST_TEXT:
        raise ElfError(f"names of symbols in {strings.size} bytes, more than {_MOST_TEXT}")
    names = data[strings.offset : strings.offset + strings.size]
    raw = data[table.offset : table.offset + table.size]
    defined, needed = set(), set()
    room = _MOST_TEXT
    for name, info, _, section, _, _ in _SYMBOL.iter_unpack(raw[: count * _SYMBOL.size]):
        if not name:
            continue
        end = names.find(b"\0", name, name + _LONGEST)
        if end < 0:
            raise ElfError(f"a symbol's name at offset {name:#x} of .dynstr does not end")
        text = names[name:end]
        room -= len(text)
        if room < 0:
            raise ElfError(f"names of symbols longer than {_MOST_TEXT} bytes in all")
        if section:
            defined.add(text)
        elif info >> 4 != _WEAK:
            needed.add(text)
    return Symbols(frozenset(defined), frozenset(needed))
