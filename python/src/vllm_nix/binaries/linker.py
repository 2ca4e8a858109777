"""Finds the libraries that ELF files need where the dynamic loader would (ld.so(8))."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf
from vllm_nix.binaries.files import machine_of

# Where the loader looks last, before any configuration of the host.
_DEFAULT_FOLDERS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")


@dataclass(frozen=True, slots=True)
class Linker:
    """`folders` are looked in after a file's own run path; `provided` are the names of libraries
    that are there anyway: loaded before by a package that knows where, or the driver's."""

    folders: tuple[Path, ...]
    provided: Collection[str] = frozenset()

    def missing(self, file: Path, image: Elf) -> Iterator[str]:
        """The libraries that `file`, found under this very path, needs and would not get."""
        if image.dynamic is None:
            return
        own = search_path(file, image)
        for name in image.dynamic.needed:
            if "/" in name:
                found = _is_for(image.machine, file.parent / name)
            else:
                places = (folder / name for folder in (*own, *self.folders))
                found = name in self.provided or any(_is_for(image.machine, one) for one in places)
            if not found:
                yield name


def search_path(file: Path, image: Elf) -> tuple[Path, ...]:
    """The run path of a file, with $ORIGIN the folder in which it was found, links not followed.

    As ld.so has it, RPATH counts only where there is no RUNPATH.
    """
    if image.dynamic is None:
        return ()
    folders = image.dynamic.runpath or image.dynamic.rpath
    origin = str(file.parent)
    return tuple(
        Path(folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin))
        for folder in folders
        if folder
    )


def base_folders(binary: Path) -> tuple[Path, ...]:
    """Where a program finds its own libraries: its run path, and beside its loader."""
    image = elf.read(binary)
    loader = (Path(image.interpreter).parent,) if image.interpreter else ()
    return search_path(binary, image) + loader


def host_folders() -> tuple[Path, ...]:
    """Where this host's loader looks: LD_LIBRARY_PATH, /etc/ld.so.conf, then its defaults."""
    asked = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    folders = [*asked, *_configured("/etc/ld.so.conf", depth=4), *_DEFAULT_FOLDERS]
    return tuple(Path(folder) for folder in folders)


def _configured(pattern: str, depth: int) -> Iterator[str]:
    """The folders of ld.so.conf(5) and of the files that it includes."""
    for file in sorted(Path("/").glob(pattern.lstrip("/"))):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.partition("#")[0].split()
            if words[:1] == ["include"] and depth:
                for included in words[1:]:
                    yield from _configured(str(file.parent / included), depth - 1)
            elif words and words[0].startswith("/"):
                yield words[0]


def _is_for(machine: int, library: Path) -> bool:
    """Whether there is such a file; the loader goes on after one for another processor."""
    try:
        return library.exists() and machine_of(library) in (machine, None)
    except OSError:
        return True  # there, but not ours to read
