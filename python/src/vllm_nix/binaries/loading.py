"""Tries whether a shared library loads: in a process of its own, beside the libraries it needs."""

import os
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_nix import process, scratch
from vllm_nix.binaries import elf

# Lazily, as functions of a driver may be missing; ctypes.CDLL would not. Folders of a C library are left
# out: the child's Python has loaded its own.
_SCRIPT = r"""
import ctypes, json, os, sys
program = ctypes.CDLL(None)
program.dlopen.restype, program.dlerror.restype = ctypes.c_void_p, ctypes.c_char_p
program.dlopen.argtypes = [ctypes.c_char_p, ctypes.c_int]
handle = program.dlopen(os.fsencode(sys.argv[2]), os.RTLD_LAZY | os.RTLD_LOCAL)
error = b"" if handle else program.dlerror()
with open("/proc/self/maps", errors="surrogateescape") as maps:
    paths = {line.split(None, 5)[5].rstrip("\n") for line in maps if ".so" in line}
folders = {os.path.dirname(path) for path in paths if path.startswith("/")}
answer = {
    "error": error.decode(errors="replace"),
    "folders": sorted(
        folder for folder in folders if not os.path.exists(os.path.join(folder, "libc.so.6"))
    ),
}
os.write(int(sys.argv[1]), json.dumps(answer).encode() + b"\n")
"""
_DRIVER = "libcuda.so.1"  # what a machine without a GPU lacks, and a library may ask for


@dataclass(frozen=True, slots=True)
class Loaded:
    """`error` is the loader's message, "" if the library loads; `folders` are those of what was
    loaded with it."""

    error: str
    folders: tuple[str, ...] = ()


def load(
    library: Path, folders: Iterable[str] = (), *, python: Path | None = None, limit: float = 120
) -> Loaded:
    """Loads a library, with the named folders searched first, within `limit` seconds.

    An empty library stands in for the GPU's driver where that is all that is missing.
    """
    searched = [*folders, *filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))]
    loaded = _load(library, searched, python, limit)
    if not loaded.error.startswith(f"{_DRIVER}: "):
        return loaded
    with scratch.folder("vllm-nix-load-") as folder:
        (folder / _DRIVER).write_bytes(_empty_library(elf.read(library).machine))
        return _load(library, [*searched, str(folder)], python, limit)


def _load(library: Path, searched: Sequence[str], python: Path | None, limit: float) -> Loaded:
    program = python or Path(sys.executable)
    try:
        outcome = process.run(
            [program, "-I", "-S", "-c", _SCRIPT, "{answers}", library.absolute()],
            folder=library.parent,
            environment={**os.environ, "LD_LIBRARY_PATH": ":".join(searched)},
            limit=limit,
            memory=3 * process.free_memory() // 4,  # its own initialization runs
        )
    except OSError as error:
        return Loaded(f"cannot run {program}: {error.strerror}")
    if outcome.end or not outcome.answers:
        return Loaded(outcome.end or "no answer")
    answer = outcome.answers[-1]
    return Loaded(str(answer["error"]), tuple(map(str, answer["folders"])))


def _empty_library(machine: int) -> bytes:
    """A shared library without anything in it: a header, two segments, and what DT_* must be there."""
    start = 64 + 2 * 56
    symbols, strings, table = start + 96, start + 120, start + 128
    tags = ((4, table), (5, strings), (6, symbols), (10, 1), (11, 24), (0, 0))
    ident = elf.MAGIC + b"\x02\x01\x01"
    header = elf.HEADER.pack(ident, 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    size = table + 16
    header += elf.SEGMENT.pack(1, 6, 0, 0, 0, size, size, 0x10000)
    header += elf.SEGMENT.pack(2, 6, start, start, start, 96, 96, 8)
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    return header + dynamic + bytes(24 + 8) + struct.pack("<4I", 1, 1, 0, 0)


def neighbours(libraries: Iterable[Path]) -> Mapping[str, Path]:
    """Libraries by the name that others ask for; the first of a name counts."""
    found: dict[str, Path] = {}
    for path in libraries:
        found.setdefault(path.name, path)
    return found


def folders_for(library: Path, known: Mapping[str, Path]) -> list[str]:
    """The folders of all that a library needs, and of what that needs, as far as they are known."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = [library]
    while waiting:
        for name in _needed(waiting.pop()):
            if name not in seen and name in known:
                seen.add(name)
                found[str(known[name].absolute().parent)] = None
                waiting.append(known[name])
    return list(found)


def _needed(library: Path) -> Iterator[str]:
    try:
        image = elf.read(library)
    except (OSError, elf.ElfError):
        return
    if image.dynamic:
        yield from image.dynamic.needed
