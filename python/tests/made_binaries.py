"""Builds small ELF files, fatbins and archives: the tests need neither nvcc nor a linker."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

BASE = 0x10000  # addresses differ from offsets, as in real files

PROGBITS, STRTAB, DYNAMIC, NOBITS = 1, 3, 6, 8
ALLOC, EXECUTE = 2, 4


@dataclass(frozen=True)
class Part:
    """A section; its content is loaded as well when `flags` has ALLOC."""

    name: str
    data: bytes = b""
    type: int = PROGBITS
    flags: int = ALLOC


def elf_file(
    *parts: Part,
    machine: int = 62,
    kind: int = 3,
    ident: bytes = b"\x7fELF\x02\x01\x01",
    flags: int = 0,
    interpreter: bytes | None = None,
    tags: Sequence[tuple[int, int | bytes]] | None = None,
    section_headers: bool = True,
) -> bytes:
    """One PT_LOAD for the file; `tags` makes a PT_DYNAMIC, in which bytes are put in .dynstr."""
    extra: list[tuple[int, Part]] = []
    if interpreter is not None:
        extra.append((3, Part(".interp", interpreter)))
    count = 1 + len(extra) + (tags is not None)
    out = bytearray(64 + 56 * count)
    placed: list[tuple[Part, int]] = []

    def place(part: Part) -> int:
        out.extend(b"\0" * (-len(out) % 8))
        offset = len(out)
        placed.append((part, offset))
        if part.type != NOBITS:
            out.extend(part.data)
        return offset

    segments = [(type_, place(part), len(part.data)) for type_, part in extra]
    if tags is not None:
        texts, table = bytearray(b"\0"), b""
        for tag, value in tags:
            if isinstance(value, bytes):
                table += struct.pack("<QQ", tag, len(texts))
                texts += value + b"\0"
            else:
                table += struct.pack("<QQ", tag, value)
        strings = place(Part(".dynstr", bytes(texts), STRTAB))
        table += struct.pack("<QQQQQQ", 5, BASE + strings, 10, len(texts), 0, 0)
        segments.append((2, place(Part(".dynamic", table, DYNAMIC)), len(table)))
    for part in parts:
        place(part)
    segments.append((1, 0, len(out)))

    names = bytearray(b"\0")
    headers = bytes(64)
    for part, offset in [*placed, (Part(".shstrtab", type=STRTAB, flags=0), len(out))]:
        start = len(names)
        names += part.name.encode() + b"\0"
        size = len(names) if part.name == ".shstrtab" else len(part.data)
        headers += struct.pack(
            "<IIQQQQIIQQ", start, part.type, part.flags, BASE + offset, offset, size, 0, 0, 8, 0
        )
    shoff = shnum = 0
    if section_headers:
        out += names + b"\0" * (-(len(out) + len(names)) % 8)
        shoff, shnum = len(out), len(headers) // 64
        out += headers
    out[:64] = struct.pack(
        "<16sHHIQQQIHHHHHH",
        ident,
        kind,
        machine,
        1,
        0,
        64,
        shoff,
        flags,
        64,
        56,
        count,
        64,
        shnum,
        max(shnum - 1, 0),
    )
    for index, (type_, offset, size) in enumerate(segments):
        struct.pack_into(
            "<IIQQQQQQ", out, 64 + 56 * index, type_, 4, offset, BASE + offset, 0, size, size, 8
        )
    return bytes(out)


def cubin(sm: int, *kernels: str) -> bytes:
    parts = [Part(f".text.{name}", b"\0" * 16, flags=ALLOC | EXECUTE) for name in kernels]
    ident = b"\x7fELF\x02\x01\x01\x41\x08"
    return elf_file(Part(".nv.info", b"\0" * 8), *parts, machine=190, ident=ident, flags=sm << 8)


def entry(
    kind: int,
    sm: int,
    payload: bytes = b"\0" * 8,
    *,
    flags: int = 0x11,
    version: tuple[int, int] = (1, 8),
    name: bytes = b"",
    options: bytes = b"",
    uncompressed: int = 0,
) -> bytes:
    """Compressed when `uncompressed` says so; `flags` must then name the method."""
    label = name + b"\0" * (-len(name) % 8) + options + b"\0" * (-len(options) % 8)
    padded = payload + b"\0" * (-len(payload) % 8)
    head = struct.pack(
        "<HHIQIIHHIIIQQQ",
        kind,
        0x0101,
        64 + len(label),
        len(padded),
        len(payload) if uncompressed else 0,
        64 if options else 0,
        version[1],
        version[0],
        sm,
        64 if name else 0,
        len(name),
        flags,
        0,
        uncompressed,
    )
    return head + label + padded


def fatbin_of(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def archive(*members: tuple[str, bytes]) -> bytes:
    """GNU style: a symbol table, the long names, then the members."""
    names = "".join(f"{name}/\n" for name, _ in members if len(name) > 15).encode()
    out = b"!<arch>\n" + _member("/", b"\0" * 4)
    out += _member("//", names) if names else b""
    for name, data in members:
        label = f"/{names.index(name.encode())}" if len(name) > 15 else f"{name}/"
        out += _member(label, data)
    return out


def bsd_archive(name: bytes, data: bytes) -> bytes:
    return b"!<arch>\n" + _member(f"#1/{len(name)}", name + data)


def _member(label: str, data: bytes) -> bytes:
    head = f"{label:<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(data):<10}`\n".encode()
    return head + data + b"\n" * (len(data) % 2)


def label(value: object) -> str:
    """For pytest: name a case by its message, not by its bytes."""
    return value if isinstance(value, str) else ""
