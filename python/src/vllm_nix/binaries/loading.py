"""Tries whether a shared library loads: in a process of its own, beside the libraries it needs."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_nix import process
from vllm_nix.binaries import elf

# Folders of a C library are left out: the child's Python has loaded its own.
_SCRIPT = r"""
import ctypes, json, os, sys
try:
    ctypes.CDLL(sys.argv[2], os.RTLD_NOW)
    answer = {"error": ""}
except OSError as error:
    answer = {"error": str(error)}
with open("/proc/self/maps", errors="surrogateescape") as maps:
    paths = {line.split(None, 5)[5].rstrip("\n") for line in maps if ".so" in line}
folders = {os.path.dirname(path) for path in paths if path.startswith("/")}
answer["folders"] = sorted(
    folder for folder in folders if not os.path.exists(os.path.join(folder, "libc.so.6"))
)
os.write(int(sys.argv[1]), json.dumps(answer).encode() + b"\n")
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """`error` is the loader's message, "" if the library loads; `folders` are those of what was
    loaded with it."""

    error: str
    folders: tuple[str, ...] = ()


def load(
    library: Path, folders: Iterable[str] = (), *, python: Path | None = None, limit: float = 120
) -> Loaded:
    """Loads a library as ctypes does, with the named folders searched first, within `limit` s."""
    searched = [*folders, *filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(searched)}
    try:
        outcome = process.run(
            [python or sys.executable, "-I", "-S", "-c", _SCRIPT, "{answers}", library.absolute()],
            folder=library.parent,
            environment=environment,
            limit=limit,
        )
    except OSError as error:
        return Loaded(f"cannot run {python or sys.executable}: {error.strerror}")
    if outcome.end or not outcome.answers:
        return Loaded(outcome.end or "no answer")
    answer = outcome.answers[-1]
    return Loaded(str(answer["error"]), tuple(map(str, answer["folders"])))


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
