"""Builds small ELF files, fatbins and archives: the tests need neither nvcc nor a linker."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

BASE = 0x10000  # addresses differ from offsets, as in real files

PROGBITS, STRTAB, DYNAMIC, NOBITS = 1, 3, 6, 8
ALLOC, EXECUTE = 2, 4
PTX, CUBIN, LTO = 1, 2, 8  # kinds of entries in a fatbin


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


# What nvcc's link step adds to each library, and what -rdc leaves to the device linker.
STUB = fatbin_of(entry(CUBIN, 52, cubin(52)), entry(PTX, 52, version=(8, 1)))
OBJECTS = fatbin_of(entry(CUBIN, 80, cubin(80, "f")), entry(LTO, 87, version=(1, 67)))


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


TEXT_AFTER = b"after the code\0"
NEEDS_DRIVER = (1, 20)  # a tag for `shared_library`


def shared_library(
    fatbins: Sequence[bytes],
    relocatable: Sequence[bytes] = (),
    *,
    machine: int = 62,
    page: int = 0x1000,
    copies: bool = True,
    wrappers: Sequence[tuple[int, int]] | None = None,
    relocations: Sequence[tuple[int, int, int]] = (),
    listed: Sequence[tuple[int, int]] = (),
    tags: Sequence[tuple[int, int]] = (),
    code_symbol: bool = False,
    behind: bytes = b"",
) -> bytes:
    """A library that loads. Its symbols: `text`, a pointer to TEXT_AFTER, which lies behind the GPU
    code, and `wrappers`, the records that point to the fatbins.

    `wrappers` are version and target's offset in the GPU code, one for each fatbin if not given;
    without `copies`, pointers are zero until the loader sets them. `relocations` are more of them: place
    and addend as offsets in the GPU code (place -1: in the data), and kind. `listed` are pairs of pointers in
    the data, behind `text`, as offsets in the GPU code. `behind` is what follows.
    """
    relative = {62: 8, 183: 1027}[machine]
    count, table = 4, 64 + 4 * 56
    code = b"".join(one + b"\0" * (-len(one) % 8) for one in fatbins)
    objects = b"".join(one + b"\0" * (-len(one) % 8) for one in relocatable)
    if wrappers is None:
        places = [sum(map(len, [*fatbins, *relocatable][:i])) for i in range(len(fatbins))]
        places += [len(code) + sum(map(len, relocatable[:i])) for i in range(len(relocatable))]
        wrappers = [(1, place) for place in places]
    strings = b"\0text\0wrappers\0code\0libcuda.so.1\0"
    symbols = 4 if code_symbol else 3
    relas = 1 + len(wrappers) + len(relocations) + 2 * len(listed)
    dynsym = table + -table % 8
    dynstr = dynsym + 24 * symbols
    hashes = dynstr + len(strings) + -len(strings) % 8
    rela = hashes + 8 * 4
    start = rela + 24 * relas
    after = start + len(code) + len(objects)
    readable = after + len(TEXT_AFTER)
    data = readable + -readable % page
    shift = page  # addresses of what may be written are not offsets
    pairs = data + 8
    record = pairs + 16 * len(listed)
    dynamic = record + 24 * len(wrappers)
    entries = [(4, hashes), (5, dynstr), (6, dynsym), (7, rela), (8, 24 * relas), (9, 24)]
    entries += [(10, len(strings)), (11, 24), *tags, (0, 0)]
    end = dynamic + 16 * len(entries)

    out = bytearray(end)

    def put(offset: int, layout: str, *values: int) -> None:
        struct.pack_into("<" + layout, out, offset, *values)

    out[dynstr : dynstr + len(strings)] = strings
    put(dynsym + 24, "IBBHQQ", 1, 0x11, 0, 7, data + shift, 8)
    put(dynsym + 48, "IBBHQQ", 6, 0x11, 0, 8, record + shift, 24 * len(wrappers))
    if code_symbol:
        put(dynsym + 72, "IBBHQQ", 15, 0x11, 0, 5, start, 8)
    chain = [0, *range(2, symbols), 0]  # one bucket, with all symbols
    rela_rows = [(data + shift, relative, after)]
    rela_rows += [
        (record + shift + 24 * i + 8, relative, start + to) for i, (_, to) in enumerate(wrappers)
    ]
    rela_rows += [
        (data + shift if place < 0 else start + place, kind, start + to)
        for place, kind, to in relocations
    ]
    rela_rows += [
        (pairs + shift + 8 * i, relative, start + to) for i, to in enumerate(sum(listed, ()))
    ]
    hash_table = struct.pack(f"<3I{len(chain)}I", 1, len(chain), 1, *chain)
    assert len(hash_table) <= 32
    out[hashes : hashes + len(hash_table)] = hash_table
    for i, (place, kind, addend) in enumerate(rela_rows):
        put(rela + 24 * i, "QQQ", place, kind, addend)
    out[start:after] = code + objects
    out[after:readable] = TEXT_AFTER
    put(data, "Q", after if copies else 0)
    for i, (version, to) in enumerate(wrappers):
        put(record + 24 * i, "IIQQ", 0x466243B1, version, start + to if copies else 0, 0)
    for i, (tag, value) in enumerate(entries):
        put(dynamic + 16 * i, "QQ", tag, value)

    symtab = len(out) + -len(out) % 8
    out += bytes(symtab - len(out)) + bytes(24)
    out += struct.pack("<IBBHQQ", 0, 3, 0, 5, start, 0)
    out += struct.pack("<IBBHQQ", 1, 1, 0, 5, start, len(fatbins[0]))
    names = bytearray(b"\0")
    headers = bytearray(64)
    sections = [
        (".dynsym", 11, 2, dynsym, dynsym, 24 * symbols, 2, 1, 24),
        (".dynstr", 3, 2, dynstr, dynstr, len(strings), 0, 0, 0),
        (".hash", 5, 2, hashes, hashes, 32, 1, 0, 4),
        (".rela.dyn", 4, 2, rela, rela, 24 * relas, 1, 0, 24),
        (".nv_fatbin", 1, 2, start, start, len(code), 0, 0, 0),
        ("__nv_relfatbin", 1, 2, start + len(code), start + len(code), len(objects), 0, 0, 0),
        (".data", 1, 3, data + shift, data, record - data, 0, 0, 0),
        (".nvFatBinSegment", 1, 3, record + shift, record, 24 * len(wrappers), 0, 0, 0),
        (".dynamic", 6, 3, dynamic + shift, dynamic, end - dynamic, 2, 0, 16),
        (".symtab", 2, 0, 0, symtab, 72, 2, 2, 24),
        (".shstrtab", 3, 0, 0, 0, 0, 0, 0, 0),
    ]
    for name, type_, flags, address, offset, size, link, info, width in sections:
        label = len(names)
        names += name.encode() + b"\0"
        if name == ".shstrtab":
            offset, size = len(out), len(names)
        headers += struct.pack(
            "<IIQQQQIIQQ", label, type_, flags, address, offset, size, link, info, 8, width
        )
    out += names + bytes(-(len(out) + len(names)) % 8)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 64, len(out), 0, 64, 56, count, 64),
        *(len(sections) + 1, len(sections)),
    )
    out += headers
    out[:64] = header
    segments = [
        (1, 4, 0, 0, readable, page),
        (1, 6, data, data + shift, end - data, page),
        (2, 6, dynamic, dynamic + shift, end - dynamic, 8),
        (0x6474E551, 6, 0, 0, 0, 16),
    ]
    for i, (type_, flags, offset, address, size, align) in enumerate(segments):
        put(64 + 56 * i, "IIQQQQQQ", type_, flags, offset, address, address, size, size, align)
    return bytes(out) + behind
