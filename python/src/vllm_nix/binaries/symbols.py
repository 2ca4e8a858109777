"""The dynamic symbols of a library, and their versions: what it offers and what it asks others for.

System V gABI, chapter 4; versions as the Linux Standard Base describes them ("Symbol Versioning").
"""

import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import ElfError, Section

_SYMBOL = struct.Struct("<IBBHQQ")
_NEED, _NEED_AUX = struct.Struct("<HHIII"), struct.Struct("<IHHII")
_DEFINITION, _DEFINITION_AUX = struct.Struct("<HHHHIII"), struct.Struct("<II")
_LOCAL, _WEAK = 0, 2
_WEAK_VERSION = 2  # VER_FLG_WEAK
_MOST_SYMBOLS = 1 << 21  # libtorch_cpu.so has 200,000
_MOST_VERSIONS = 1 << 13  # libc.so.6 defines 50
_LONGEST = 1 << 16  # bytes of a name; C++ templates reach 10,000
_MOST_TEXT = 1 << 28  # bytes of all names; a hostile table's may overlap


@dataclass(frozen=True, slots=True)
class Symbols:
    """Mangled names. `needed` are those that must be found when the library is loaded. Where `known`
    is false, the file has no table of them that can be read."""

    defined: frozenset[bytes]
    needed: frozenset[bytes]
    known: bool = True


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of symbols, as "GLIBC_2.34": those `needed`, by the soname of the library that is to
    have them, and those `defined`."""

    needed: Mapping[str, tuple[str, ...]]
    defined: frozenset[str]


def read_symbols(file: Path) -> Symbols:
    """The names in `.dynsym`; none if there is no such table. Raises ElfError or OSError."""
    with elf.mapped(file) as data:
        sections = {section.name: section for section in elf.parse(data).sections}
        if not {".dynsym", ".dynstr"} <= sections.keys():
            return Symbols(frozenset(), frozenset(), known=False)
        return _read(data, sections[".dynsym"], sections[".dynstr"])


def _read(data: mmap.mmap, table: Section, strings: Section) -> Symbols:
    # A file may have holes: what its tables are said to hold need not be on any disk.
    count = table.size // _SYMBOL.size
    if count > _MOST_SYMBOLS:
        raise ElfError(f"{count} dynamic symbols, more than {_MOST_SYMBOLS}")
    names = _strings(data, strings)
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
        if info >> 4 == _LOCAL:
            continue
        if section:
            defined.add(text)
        elif info >> 4 != _WEAK:
            needed.add(text)
    return Symbols(frozenset(defined), frozenset(needed))


def read_versions(file: Path) -> Versions:
    """The versions in `.gnu.version_r` and `.gnu.version_d`. Raises ElfError or OSError."""
    with elf.mapped(file) as data:
        sections = {section.name: section for section in elf.parse(data).sections}
        strings = sections.get(".dynstr")
        if strings is None or not {".gnu.version_r", ".gnu.version_d"} & sections.keys():
            return Versions({}, frozenset())
        names = _strings(data, strings)
        needed: dict[str, tuple[str, ...]] = {}
        defined: set[str] = set()
        if (table := sections.get(".gnu.version_r")) is not None:
            needed = _needed(data[table.offset : table.offset + table.size], names)
        if (table := sections.get(".gnu.version_d")) is not None:
            defined = _defined(data[table.offset : table.offset + table.size], names)
        return Versions(needed, frozenset(defined))


def _needed(raw: bytes, names: bytes) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    left = _MOST_VERSIONS
    for start, (_, count, file, aux, _) in _chain(raw, _NEED, 0, 4, _MOST_VERSIONS):
        versions = []
        for _, (_, flags, _, name, _) in _chain(raw, _NEED_AUX, start + aux, 4, count):
            left -= 1
            if left < 0:
                raise ElfError(f"more than {_MOST_VERSIONS} versions of symbols")
            if not flags & _WEAK_VERSION:
                versions.append(_name(names, name))
        library = _name(names, file)
        found[library] = found.get(library, ()) + tuple(versions)
    return found


def _defined(raw: bytes, names: bytes) -> set[str]:
    found: set[str] = set()
    for start, row in _chain(raw, _DEFINITION, 0, 6, _MOST_VERSIONS):
        for _, (name, _) in _chain(raw, _DEFINITION_AUX, start + row[5], 1, 1):
            found.add(_name(names, name))
    return found


def _chain(
    raw: bytes, layout: struct.Struct, start: int, link: int, most: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The rows of a list in which each has the distance to the next; each has a place of its own."""
    for _ in range(most):
        if start + layout.size > len(raw):
            raise ElfError(
                f"a table of versions goes on at {start:#x}, beyond its {len(raw)} bytes"
            )
        row = layout.unpack_from(raw, start)
        yield start, row
        if not row[link]:
            return
        start += row[link]


def _strings(data: mmap.mmap, strings: Section) -> bytes:
    if strings.size > _MOST_TEXT:
        raise ElfError(f"names of symbols in {strings.size} bytes, more than {_MOST_TEXT}")
    return data[strings.offset : strings.offset + strings.size]


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
