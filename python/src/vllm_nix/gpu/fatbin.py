"""Reads the GPU code in a file: which cubins and PTX a library carries, fatbin by fatbin.

nvcc packs the code of one translation unit, for all its architectures, into one fatbin. A host
library holds them in the sections `.nv_fatbin` (code that the host launches) and `__nv_relfatbin`
(code for the device linker, from `nvcc -rdc`). Some libraries hold more as plain data, which they
load by themselves: cuFFT 12.5 has 18,227 fatbins as data and none elsewhere, cuBLASLt a
section `.cask_resource`. NVIDIA's cuobjdump finds no device code there; here, all data is searched.
The format is not published; what is known of it, and how that was measured, is in the project's
CUDA facts, section 6.

Nothing is decompressed: the headers say all but one thing, whether a compressed cubin holds any
kernel (see `Entry.kernels`). Files are mapped and never trusted, as in `elf`. A damaged fatbin
is left out and named in `Contents.damage`, and reading goes on at the next one.
"""

import mmap
import os
import stat
import struct

from vllm_nix.binaries import archive, elf
from vllm_nix.binaries.search import Searcher
from vllm_nix.gpu.capability import ComputeCapability, from_sm
from vllm_nix.gpu.mark import Mark
from vllm_nix.light import NamedTuple

HOST, RELOCATABLE = ".nv_fatbin", "__nv_relfatbin"
_ROLES = {HOST: "host", "": "host", RELOCATABLE: "relocatable"}

_MAGIC = struct.pack("<IHH", 0xBA55ED50, 1, 16)  # number, version, size of this header
_FATBIN = struct.Struct("<8sQ")
_ENTRY = struct.Struct("<HHIQI4xHHIIIQ8xQ")
_SIZES, _FLAGS, _UNPACKED = 8, 40, 56  # where in it
_WORD = struct.Struct("<Q")
_CUBIN = 2
_KINDS = {1: "ptx", _CUBIN: "cubin", 8: "lto-ir"}
_Sort = tuple[str, ComputeCapability, bool, str]  # kind, capability, is 64-bit, compression
_64_BIT, _LZ4, _ZSTD, _ARCH_SPECIFIC, _FAMILY = 0x1, 0x2000, 0x8000, 0x100000, 0x200000
_ELF = elf.MAGIC + b"\x02\x01"  # 64-bit, little-endian
_ENTRY_VERSION = b"\x01\x01"
_SHF_ALLOC, _SHF_EXECINSTR = 0x2, 0x4
# Symbols, strings, relocations, hashes: the linker's, megabytes without any data of the program.
_LINKERS_TYPES = {2, 3, 4, 5, 6, 9, 11, 0x6FFFFFF6}
# What unwinds the host's stack: a tenth of all data.
_UNWINDING = (".eh_frame", ".eh_frame_hdr", ".gcc_except_table")
_EM_CUDA = 190

_START = _MAGIC[:4]
_ALIGNED = 8  # bytes that a fatbin's offset is a multiple of, in the file or member that has it
_FATBINS = Searcher(_START)
# cuFFT has 36,454; a hostile file could have one for each 16 bytes.
_MOST_HEADERS = 1 << 17
# A file may have holes, and claim more than any disk holds. Linkers end below 2 GiB of code and data.
_MOST_DATA = 1 << 35  # bytes
_ZEROS = bytes(1 << 20)


def header(size: int) -> bytes:
    """What a fatbin begins with, whose entries take `size` bytes."""
    return _FATBIN.pack(_MAGIC, size)


def stub(sm: int) -> bytes:
    """An entry with nothing to run, as nvcc 12's link step adds to each library."""
    names = b"\0.shstrtab\0".ljust(16, b"\0")
    table = 64 + len(names)
    # An executable for machine 190 of CUDA 12's ABI (51, 7); cuobjdump wants one section at least.
    numbers = (2, _EM_CUDA, 1, 0, 0, table, sm << 16 | sm, 64, 56, 0, 64, 2, 1)
    cubin = struct.pack("<6sBBB7xHHIQQQIHHHHHH", _ELF, 1, 51, 7, *numbers)
    cubin += names + bytes(64) + struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, 64, 11, 0, 0, 1, 0)
    flags = _64_BIT | 0x10  # of a Linux host
    entry = (2, 0x0101, _ENTRY.size, len(cubin), 0, 7, 1, sm, 0, 0, flags, 0)
    return _ENTRY.pack(*entry) + cubin


def payload(entry: bytes) -> bytes:
    """What an entry holds: its code, or that compressed."""
    _, _, header, size, packed, *_ = _ENTRY.unpack_from(entry)
    return entry[header : header + (packed or size)]


def compressed(entry: bytes, frame: bytes) -> bytes:
    """An entry with its payload as a zstd frame, as `nvcc --compress-mode=size` stores it."""
    padded = frame + bytes(-len(frame) % 8)
    return _stored(entry, padded, len(frame), _ZSTD, len(payload(entry)))


def uncompressed(entry: bytes, code: bytes) -> bytes:
    """The reverse, with the payload unpacked."""
    return _stored(entry, code, 0, 0, 0)


def _stored(entry: bytes, payload: bytes, packed: int, method: int, unpacked: int) -> bytes:
    header = bytearray(entry[: _ENTRY.unpack_from(entry)[2]])
    (flags,) = _WORD.unpack_from(header, _FLAGS)
    struct.pack_into("<QI", header, _SIZES, len(payload), packed)
    _WORD.pack_into(header, _FLAGS, flags & ~_ZSTD | method)
    _WORD.pack_into(header, _UNPACKED, unpacked)
    return bytes(header) + payload


class FatbinError(Exception):
    """What is wrong in a file's GPU code, and at which offset of the file."""

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(f"offset {offset:#x}: {problem}")
        self.offset = offset


class Entry(NamedTuple):
    """Code for one architecture. Offset and sizes are in bytes; `size` is what the file holds.

    `kind` is "cubin", "ptx", "lto-ir", or "kind-N" for what we don't know. `version` is the PTX ISA
    of PTX, the format of a cubin, the NVVM version of LTO-IR. `compression` is "", "lz4", "zstd"
    or "unknown". `kernels` says whether a cubin has functions; None when that is compressed away,
    or for other kinds.
    """

    offset: int
    kind: str
    capability: ComputeCapability
    version: tuple[int, int]
    is_64_bit: bool
    compression: str
    size: int
    uncompressed_size: int
    name: str
    kernels: bool | None

    @property
    def arch(self) -> str:
        """As nvcc writes it: sm_90a for a cubin, compute_90 for PTX, lto_90 for LTO-IR."""
        return self.capability.arch(self.kind)


class Fatbin(NamedTuple):
    """The code of one translation unit, of which the CUDA runtime picks an entry for its device.

    `size` is in bytes, with the header. `section` is "" in a file without section headers, `member`
    outside an archive.
    """

    offset: int
    size: int
    section: str
    member: str
    entries: tuple[Entry, ...]

    @property
    def is_stub(self) -> bool:
        """Whether there is nothing to run, as in what nvcc's link step adds to every library.

        False when in doubt: with `nvcc --compress-mode=size`, stubs are compressed like the rest.
        """
        found = False
        for entry in self.entries:
            if entry.kind == "cubin":
                if entry.kernels is not False:
                    return False
                found = True
        return found

    @property
    def role(self) -> str:
        """What the code is there for: "host", launched by host code (also where nothing says it, as
        in a bare cubin); "embedded", for the library to load; "relocatable", for the device linker,
        not to be run; "stub", nothing (see `is_stub`).
        """
        if self.is_stub:
            return "stub"
        return _ROLES.get(self.section, "embedded")


class Contents(NamedTuple):
    """A file's fatbins, in file order, what could not be read, and what a slim library is for."""

    fatbins: tuple[Fatbin, ...]
    damage: tuple[FatbinError, ...]
    mark: Mark | None = None


def is_candidate(path: str | os.PathLike[str]) -> bool:
    """Whether a file starts like one that `read` takes. Raises OSError.

    Not so for folders, pipes ..., nor for 32-bit and big-endian ELF files: CUDA has no such hosts.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 -- of thousands of files
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return is_start(os.read(descriptor, 8))
    finally:
        os.close(descriptor)


def is_start(start: bytes) -> bool:
    """The same, by a file's first eight bytes."""
    return start.startswith(_ELF) or start in (archive.MAGIC, archive.THIN_MAGIC, _MAGIC)


def read(path: str | os.PathLike[str]) -> Contents:
    """Read a library, executable, object, archive, bare fatbin or bare cubin, of any size.

    Raises FatbinError if it is none of them or its own headers are damaged, and OSError.
    """
    try:
        with elf.mapped(path) as data:
            return parse(data)
    except elf.ElfError as error:
        raise FatbinError(str(error), 0) from None


def parse(data: bytes | mmap.mmap) -> Contents:
    """As `read`, for the bytes of a file."""
    reader = _Reader(data)
    try:
        reader.file()
    except _TooMuchError as error:
        reader.damage.append(error)
    return Contents(tuple(reader.fatbins), tuple(reader.damage), reader.mark)


class _TooMuchError(FatbinError):
    """A budget is used up: the file is read no further."""


class _Range(NamedTuple):
    """Where to look, in a file or member that starts at `base`; `packed`: for nothing else."""

    base: int
    start: int
    end: int
    section: str
    member: str
    packed: bool


class _Reader:
    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data = data
        self._headers = 0
        self._unparsed = len(data)
        self._unread = _MOST_DATA
        self._sorts: dict[tuple[int, int, int], _Sort] = {}
        self.fatbins: list[Fatbin] = []
        self.damage: list[FatbinError] = []
        self.mark: Mark | None = None

    def file(self) -> None:
        start = self._data[:8]
        if start.startswith(elf.MAGIC):
            self._elf(0, len(self._data), "")
        elif start == archive.MAGIC:
            self._archive()
        elif start == _MAGIC:
            self._walk(_Range(0, 0, len(self._data), "", "", packed=True), 0)
        elif start == archive.THIN_MAGIC:
            raise FatbinError("a thin archive: its members are separate files, name those", 0)
        else:
            raise FatbinError("not an ELF file, an archive or a fatbin", 0)

    def _archive(self) -> None:
        try:
            for member in archive.members(self._data):
                self._count(member.offset)
                end = member.offset + member.size
                try:
                    if self._data[member.offset : min(member.offset + 6, end)] == _ELF:
                        self._elf(member.offset, end, member.name)
                except _TooMuchError:
                    raise
                except FatbinError as error:
                    self.damage.append(error)
        except archive.ArchiveError as error:
            self.damage.append(FatbinError(str(error), 0))

    def _elf(self, start: int, end: int, member: str) -> None:
        found = self._headers_of(start, end)
        if found.machine == _EM_CUDA:
            self.fatbins.append(self._bare_cubin(start, end, member, found))
            return
        if not member:
            try:
                self.mark = Mark.find(self._data, found.segments)
            except ValueError as error:
                self.damage.append(FatbinError(str(error), start))
        if found.sections:
            ranges = [
                (section.offset, section.offset + section.size, section.name)
                for section in found.sections
                if section.flags & (_SHF_ALLOC | _SHF_EXECINSTR) == _SHF_ALLOC
                and section.type not in (elf.SHT_NULL, elf.SHT_NOBITS, *_LINKERS_TYPES)
                and section.name not in _UNWINDING
            ]
        else:
            ranges = [
                (segment.offset, segment.offset + segment.size, "")
                for segment in found.segments
                if segment.type == elf.PT_LOAD
            ]
        done = 0
        places = []
        for first, last, section in sorted(ranges):
            # Each byte once: overlapping ranges could cost a small file any amount of time.
            first = max(first, done)
            packed = section in (HOST, RELOCATABLE)
            places.append(_Range(start, start + first, start + last, section, member, packed))
            done = max(done, last)
            self._unread -= max(0, last - first)
        if self._unread < 0:
            raise _TooMuchError(f"more than {_MOST_DATA} bytes of data", start)
        self._walk_all(places)

    def _walk_all(self, places: list[_Range]) -> None:
        """In their order. The largest to be searched is searched by another thread meanwhile."""
        searched = [place for place in places if not place.packed]
        largest = max(searched, key=lambda place: place.end - place.start, default=None)
        if largest is None or not _FATBINS.is_large(largest.end - largest.start):
            largest = ahead = None
        else:
            start = largest.start + (largest.base - largest.start) % _ALIGNED
            ahead = _FATBINS.ahead(self._data, start, largest.end)
        try:
            for place in places:
                self._walk(place, ahead.found() if ahead and place is largest else place.start)
        finally:
            if ahead:
                ahead.close()

    def _headers_of(self, start: int, end: int) -> elf.Elf:
        try:
            with memoryview(self._data) as whole, whole[start:end] as image:
                return elf.parse(image)
        except elf.ElfError as error:
            raise FatbinError(str(error), start) from None

    def _bare_cubin(self, start: int, end: int, member: str, headers: elf.Elf) -> Fatbin:
        """A cubin outside a fatbin: it says its architecture, but not the suffix."""
        abi = self._data[start + 8]
        (flags,) = struct.unpack_from("<I", self._data, start + 0x30)
        size = end - start
        entry = Entry(
            offset=start,
            kind="cubin",
            capability=ComputeCapability.from_sm((flags >> 8 if abi >= 8 else flags) & 0xFF),
            version=(1, abi),
            is_64_bit=True,
            compression="",
            size=size,
            uncompressed_size=size,
            name="",
            kernels=any(section.name.startswith(".text.") for section in headers.sections),
        )
        return Fatbin(start, size, "", member, (entry,))

    def _walk(self, place: _Range, position: int) -> None:
        """From a position on, before which there is nothing."""
        gap_matters = place.packed
        while True:
            found = self._find(place, position)
            if gap_matters:
                self._expect_zeros(position, found)
            if found >= place.end:
                return
            try:
                fatbin = self._fatbin(place, found)
            except _TooMuchError:
                raise
            except FatbinError as error:
                self.damage.append(error)
                position, gap_matters = found + _FATBIN.size, False
            else:
                self.fatbins.append(fatbin)
                position, gap_matters = found + fatbin.size, place.packed

    def _find(self, place: _Range, position: int) -> int:
        """The next fatbin's offset, or the range's end."""
        data = self._data
        last = place.end - len(_MAGIC)
        while True:
            position += (place.base - position) % _ALIGNED
            found = position  # one after the other, as thousands of them lie
            if data[position : position + len(_START)] != _START:
                found = _FATBINS.find(data, position, place.end)
            if found > last:
                return place.end
            self._count(found)
            # Among other data, the bytes alone may be a coincidence, or a program's constant.
            entry = found + _FATBIN.size
            if (
                data[found : found + len(_MAGIC)] == _MAGIC
                and (place.packed or data[entry + 2 : entry + 4] == _ENTRY_VERSION)
                and (found - place.base) % _ALIGNED == 0
            ):
                return found
            position = found + 1

    def _count(self, offset: int) -> None:
        self._headers += 1
        if self._headers > _MOST_HEADERS:
            raise _TooMuchError(f"more than {_MOST_HEADERS} headers", offset)

    def _expect_zeros(self, start: int, end: int) -> None:
        for position in range(start, end, len(_ZEROS)):
            part = self._data[position : min(position + len(_ZEROS), end)]
            if part != _ZEROS and (rest := part.lstrip(b"\0")):
                where = position + len(part) - len(rest)
                self.damage.append(FatbinError("neither a fatbin nor padding", where))
                return

    def _fatbin(self, place: _Range, start: int) -> Fatbin:
        first = start + _FATBIN.size
        left = place.end - first
        if left < 0:
            raise FatbinError("fatbin header cut off", start)
        _, size = _FATBIN.unpack_from(self._data, start)
        if size > left:
            raise FatbinError(f"fatbin of {size} bytes, but {left} are left", start)
        end = first + size
        entries = []
        while first < end:
            self._count(first)
            entry, first = self._entry(first, end)
            entries.append(entry)
        return Fatbin(start, end - start, place.section, place.member, tuple(entries))

    def _entry(self, start: int, end: int) -> tuple[Entry, int]:
        """One entry, and the offset after it."""
        if start + _ENTRY.size > end:
            raise FatbinError("entry header cut off", start)
        kind, _, header, size, packed, minor, major, sm, name, name_size, flags, uncompressed = (
            _ENTRY.unpack_from(self._data, start)
        )
        payload = start + header
        after = payload + size
        if header < _ENTRY.size:
            raise FatbinError(f"entry header of {header} bytes, less than {_ENTRY.size}", start)
        if after > end:
            raise FatbinError(f"entry of {header + size} bytes, but {end - start} are left", start)
        if name + name_size > header:
            raise FatbinError(f"entry's name of {name_size} bytes is not in its header", start)
        if packed > size:
            raise FatbinError(f"entry of {packed} compressed bytes in {size}", start)
        word, capability, is_64_bit, method = self._sorts.get((kind, sm, flags)) or self._sort(
            kind, sm, flags
        )
        label = self._data[start + name : start + name + name_size] if name_size else b""
        # By position: there are thousands.
        entry = Entry(
            start,
            word,
            capability,
            (major, minor),
            is_64_bit,
            method if packed else "",
            size,
            uncompressed if packed else size,
            label.rstrip(b"\0").decode("utf-8", "backslashreplace") if label else "",
            self._has_functions(payload, after) if kind == _CUBIN and not packed else None,
        )
        return entry, after

    def _sort(self, kind: int, sm: int, flags: int) -> _Sort:
        """What thousands of entries have in common."""
        method = "lz4" if flags & _LZ4 else "zstd" if flags & _ZSTD else "unknown"
        suffix = "a" if flags & _ARCH_SPECIFIC else "f" if flags & _FAMILY else ""
        name = _KINDS.get(kind) or f"kind-{kind}"
        found = self._sorts[kind, sm, flags] = (
            name,
            from_sm(sm, suffix),
            bool(flags & _64_BIT),
            method,
        )
        return found

    def _has_functions(self, start: int, end: int) -> bool:
        """Whether a cubin holds any. Each byte of a file is in one cubin at most; fatbins in one
        another could share one, and have its sections read as often as there are fatbins."""
        self._unparsed -= end - start
        if self._unparsed < 0:
            raise _TooMuchError("cubins that overlap", start)
        try:
            with memoryview(self._data) as whole, whole[start:end] as image:
                return elf.has_section(image, b".text.")
        except elf.ElfError as error:
            raise FatbinError(str(error), start) from None
