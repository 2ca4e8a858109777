"""The dynamic symbols of a library, and their versions: what it offers and what it asks others for.

System V gABI, chapter 4; versions as the Linux Standard Base describes them ("Symbol Versioning").
"""

import mmap
import re
import struct
from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf, ElfError

_NEED, _NEED_AUX = struct.Struct("<HHIII"), struct.Struct("<IHHII")
_DEFINITION, _DEFINITION_AUX = struct.Struct("<HHHHIII"), struct.Struct("<II")
_HASHES = struct.Struct("<4I")  # the head of GNU's table
_LOCAL, _WEAK = 0, 2
_BASE, _WEAK_VERSION = 1, 2  # VER_FLG_BASE, VER_FLG_WEAK
_HIDDEN = 0x8000  # in a symbol's index of its version
_MOST_SYMBOLS = 1 << 21  # libtorch_cpu.so has 200,000
_MOST_VERSIONS = 1 << 13  # libc.so.6 defines 50
_MOST_ROWS = 1 << 18  # bytes of a table of them
_LONGEST = 1 << 16  # bytes of a name; C++ templates reach 10,000
_MOST_TEXT = 1 << 28  # bytes of all names; a hostile table's may overlap


@dataclass(frozen=True, slots=True)
class Symbols:
    """Mangled names. `needed` are those that must be found when the library is loaded, `wanted` the
    versions of those that are needed in one, and `versions` those of names that are defined in some
    alone; `nodes` are all that the library has. Where `known` is false, the file has no table of them
    that can be read."""

    defined: frozenset[bytes]
    needed: frozenset[bytes]
    known: bool = True
    wanted: Mapping[bytes, str] = field(default_factory=dict)
    versions: Mapping[bytes, frozenset[str]] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()

    def defines(self, name: bytes, version: str | None) -> bool:
        """Whether the loader takes a name from here for one that is needed in a version. A library that
        does not have the version at all is refused as a whole, which is reported elsewhere."""
        if name not in self.defined or version not in self.nodes:
            return name in self.defined
        return name not in self.versions or version in self.versions[name]


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of symbols, as "GLIBC_2.34": those `needed`, by the soname of the library that is to
    have them, and those `defined`."""

    needed: Mapping[str, tuple[str, ...]]
    defined: frozenset[str]


def read_symbols(file: Path) -> Symbols:
    """The names in the table that the loader reads; none if there is no such table. Raises ElfError or
    OSError."""
    with elf.mapped(file) as data:
        tables = _tables(data)
        if not {_SYMTAB, _STRTAB} <= tables.keys():
            return Symbols(frozenset(), frozenset(), known=False)
        return _read(tables)


def _read(tables: Mapping[int, bytes]) -> Symbols:
    names = tables[_STRTAB]
    raw = tables[_SYMTAB][: len(tables[_SYMTAB]) // elf.SYMBOL.size * elf.SYMBOL.size]
    verneed, nodes = (
        _needed(tables.get(_VERNEED, b""), names),
        _defined(tables.get(_VERDEF, b""), names),
    )
    asked = {index: version for rows in verneed.values() for version, _, index in rows}
    table = tables.get(_VERSYM, b"")
    indices = memoryview(table[: len(table) & ~1]).cast("H") if asked or nodes else ()
    defined, needed, of_any = set(), set(), set()
    wanted: dict[bytes, str] = {}
    versions: dict[bytes, set[str]] = {}
    room = _MOST_TEXT
    for (name, info, _, section, _, _), index in zip(
        elf.SYMBOL.iter_unpack(raw), chain(indices, repeat(0)), strict=False
    ):
        if not name:
            continue
        end = names.find(b"\0", name, name + _LONGEST)
        if end < 0:
            raise ElfError(f"a symbol's name at offset {name:#x} of .dynstr does not end")
        text = names[name:end]
        room -= len(text)
        if room < 0:
            raise ElfError(f"names of symbols longer than {_MOST_TEXT} bytes in all")
        if info >> 4 == _LOCAL:
            continue
        if section:
            defined.add(text)
            if nodes and (version := nodes.get(index & ~_HIDDEN)):
                versions.setdefault(text, set()).add(version)
            elif nodes:
                of_any.add(text)
        elif info >> 4 != _WEAK:
            needed.add(text)
            if index in asked:
                wanted[text] = asked[index]
    in_some = {name: frozenset(some) for name, some in versions.items() if name not in of_any}
    return Symbols(
        frozenset(defined), frozenset(needed), True, wanted, in_some, frozenset(nodes.values())
    )


def read_versions(file: Path) -> Versions:
    """The versions of symbols that a file needs and defines. Raises ElfError or OSError."""
    with elf.mapped(file) as data:
        tables = _tables(data, wanted=(_STRTAB, _VERNEED, _VERDEF))
    names = tables.get(_STRTAB, b"")
    needed = {
        library: tuple(version for version, flags, _ in rows if not flags & _WEAK_VERSION)
        for library, rows in _needed(tables.get(_VERNEED, b""), names).items()
    }
    defined = _defined(tables.get(_VERDEF, b""), names, base=True)
    return Versions(needed, frozenset(defined.values()))


# Tags of the dynamic section, which is what the loader goes by, and what linkers call the same sections.
_STRTAB, _SYMTAB, _STRSZ, _HASH, _GNU_HASH = 5, 6, 10, 4, 0x6FFFFEF5
_VERSYM, _VERDEF, _VERNEED = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE
_SECTIONS = {
    _STRTAB: ".dynstr",
    _SYMTAB: ".dynsym",
    _VERSYM: ".gnu.version",
    _VERDEF: ".gnu.version_d",
    _VERNEED: ".gnu.version_r",
}


def _tables(data: mmap.mmap, wanted: Collection[int] = tuple(_SECTIONS)) -> dict[int, bytes]:
    """The tables of symbols that are there, by their tags. Sections say how large they are, where they
    are those that the dynamic section means; without them the tables do."""
    image = elf.parse(data)
    sections = {section.name: section for section in image.sections}
    values = elf.dynamic_values(data, image)
    places: dict[int, tuple[int, int]] = {}
    for tag in wanted:
        section = sections.get(_SECTIONS[tag])
        if _SYMTAB not in values:  # nothing loads it
            if section is not None:
                places[tag] = section.offset, section.size
        elif tag in values:
            start, room = elf.place(image.segments, values[tag])
            is_its = section is not None and section.offset == start
            size = section.size if is_its and section else _size(data, image, values, tag)
            places[tag] = start, min(size, room)
    # A file may have holes: what its tables are said to hold need not be on any disk.
    if (size := places.get(_STRTAB, (0, 0))[1]) > _MOST_TEXT:
        raise ElfError(f"names of symbols in {size} bytes, more than {_MOST_TEXT}")
    if (count := places.get(_SYMTAB, (0, 0))[1] // elf.SYMBOL.size) > _MOST_SYMBOLS:
        raise ElfError(f"{count} dynamic symbols, more than {_MOST_SYMBOLS}")
    most = {_VERSYM: 2 * _MOST_SYMBOLS, _VERDEF: _MOST_ROWS, _VERNEED: _MOST_ROWS}
    return {
        tag: data[start : start + min(size, most.get(tag, size))]
        for tag, (start, size) in places.items()
    }


def _size(data: mmap.mmap, image: Elf, values: Mapping[int, int], tag: int) -> int:
    """How many bytes a table has for which there is no section."""
    if tag == _STRTAB:
        return values.get(_STRSZ, 0)
    if tag in (_VERDEF, _VERNEED):
        return _MOST_ROWS
    return _count(data, image, values) * (elf.SYMBOL.size if tag == _SYMTAB else 2)


def _count(data: mmap.mmap, image: Elf, values: Mapping[int, int]) -> int:
    """The number of dynamic symbols, which is in the tables of their hashes alone (gABI, "Hash Table";
    for GNU's, a chain ends with a hash whose lowest bit is set)."""
    if _HASH in values:
        start, room = elf.place(image.segments, values[_HASH])
        return int.from_bytes(data[start + 4 : start + 8], "little") if room >= 8 else 0
    if _GNU_HASH not in values:
        return 0
    start, room = elf.place(image.segments, values[_GNU_HASH])
    raw = data[start : start + min(room, 16)]
    if len(raw) < 16:
        raise ElfError(f"a table of hashes cut off at offset {start:#x}")
    buckets, first, words, _ = _HASHES.unpack(raw)
    chains = 16 + 8 * words + 4 * buckets
    if buckets > _MOST_SYMBOLS or chains > room:
        raise ElfError(f"{buckets} buckets of hashes at offset {start:#x}, beyond its segment")
    table = data[start + chains - 4 * buckets : start + chains]
    last = max(array("I", table), default=0)
    while last >= first:
        at = chains + 4 * (last - first)
        if at + 4 > room:
            raise ElfError(f"a chain of hashes at offset {start:#x} does not end")
        last += 1
        if data[start + at] & 1:
            return last
    return int(first)


def _needed(raw: bytes, names: bytes) -> dict[str, list[tuple[str, int, int]]]:
    """By library: the versions that it is to have, with their flags and indices."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    left = _MOST_VERSIONS
    for start, (_, count, file, aux, _) in _chain(raw, _NEED, 0, 4, _MOST_VERSIONS):
        versions = found.setdefault(_name(names, file), [])
        for _, (_, flags, index, name, _) in _chain(raw, _NEED_AUX, start + aux, 4, count):
            left -= 1
            if left < 0:
                raise ElfError(f"more than {_MOST_VERSIONS} versions of symbols")
            versions.append((_name(names, name), flags, index))
    return found


def _defined(raw: bytes, names: bytes, *, base: bool = False) -> dict[int, str]:
    """Versions by their indices; one that is the `base` is the library's name, and takes all symbols."""
    found: dict[int, str] = {}
    for start, row in _chain(raw, _DEFINITION, 0, 6, _MOST_VERSIONS):
        for _, (name, _) in _chain(raw, _DEFINITION_AUX, start + row[5], 1, 1):
            if base or not row[1] & _BASE:
                found[row[2]] = _name(names, name)
    return found


def _chain(
    raw: bytes, layout: struct.Struct, start: int, link: int, most: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The rows of a list in which each has the distance to the next; each has a place of its own."""
    for _ in range(most if raw else 0):
        if start + layout.size > len(raw):
            raise ElfError(
                f"a table of versions goes on at {start:#x}, beyond its {len(raw)} bytes"
            )
        row = layout.unpack_from(raw, start)
        yield start, row
        if not row[link]:
            return
        start += row[link]


def _name(names: bytes, start: int) -> str:
    end = names.find(b"\0", start, start + _LONGEST)
    if end < 0:
        raise ElfError(f"a version's name at offset {start:#x} of .dynstr does not end")
    return names[start:end].decode("utf-8", "backslashreplace")


_NUMBER = re.compile(r"[0-9]{1,4}")
_TEMPLATE_OR_REFERENCE = re.compile(r"[KVr]*")
_STANDARD = {"t": "std", "a": "std::allocator", "b": "std::basic_string", "s": "std::string"}
_STANDARD |= {"i": "std::istream", "o": "std::ostream", "d": "std::iostream"}


def demangle(name: bytes) -> str:
    """The qualified name of a C++ function or object, without arguments, "" where there is more to
    it than that: "at::_ops::new" of "_ZN2at4_ops3newEv" (Itanium C++ ABI, "Mangling")."""
    text = name.decode("utf-8", "replace")
    if not text.startswith("_Z"):
        return ""
    kind = {"TV": "vtable of ", "TI": "typeinfo of ", "TS": "typeinfo name of "}.get(text[2:4], "")
    at = 4 if kind else 2
    nested = text.startswith("N", at)
    if nested:
        at += 1 + len(_TEMPLATE_OR_REFERENCE.match(text, at + 1)[0])  # type: ignore[index]
    parts: list[str] = []
    while at < len(text):
        if text[at] == "S" and text[at + 1 : at + 2] in _STANDARD and not parts:
            parts.append(_STANDARD[text[at + 1]])
            at += 2
            continue
        found = _NUMBER.match(text, at)
        if found is None:
            break
        end = found.end() + int(found[0])
        parts.append(text[found.end() : end])
        at = end
        if not nested and parts[0] != "std":
            break
    if parts and nested and text[at : at + 2] in ("C1", "C2", "D0", "D1", "D2"):
        parts.append(("~" if text[at] == "D" else "") + parts[-1])
    return kind + "::".join(parts) if parts and all(parts) else ""
