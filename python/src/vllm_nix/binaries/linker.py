"""Finds the libraries that ELF files need where the dynamic loader would (ld.so(8))."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf
from vllm_nix.binaries.files import machine_of

# Where the loader looks last, before any configuration of the host.
_DEFAULT_FOLDERS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
# Each library is looked for in each folder. torch's libraries have some 20 of either.
MOST_NEEDED, MOST_FOLDERS = 500, 500
_LONGEST = 4096  # bytes of a path, PATH_MAX: the loader takes no longer one
_MOST_LISTED = 100_000  # files of a folder that are remembered


class LinkerError(Exception):
    """A file that asks for more than we look up; the message says of what."""


@dataclass(frozen=True, slots=True)
class Linker:
    """`folders` are looked in after a file's own run path; `provided` are the names of libraries
    that are there anyway: loaded before by a package that knows where, or the driver's.

    Each folder is listed once, so that one linker is used for all files of an environment.
    """

    folders: tuple[Path, ...]
    provided: Collection[str] = frozenset()
    _listed: dict[str, Collection[str] | None] = field(default_factory=dict)
    _machines: dict[str, int | None] = field(default_factory=dict)

    def missing(self, file: Path, image: Elf) -> Iterator[str]:
        """The libraries that `file`, found under this very path, needs and would not get.

        Raises `LinkerError`.
        """
        if image.dynamic is None:
            return
        own = search_path(file, image)
        if len(image.dynamic.needed) > MOST_NEEDED:
            count = len(image.dynamic.needed)
            raise LinkerError(f"needs {count} libraries, more than the {MOST_NEEDED} looked for")
        if len(own) > MOST_FOLDERS:
            raise LinkerError(f"a run path of {len(own)} folders, more than {MOST_FOLDERS}")
        folders = tuple(map(str, (*own, *self.folders)))
        for name in image.dynamic.needed:
            if "/" not in name and name in self.provided:
                continue
            if self._find(name, image.machine, folders, file) is None:
                yield name

    def _find(self, name: str, machine: int, folders: tuple[str, ...], file: Path) -> str | None:
        """Where the loader finds a library; it goes on after one for another processor."""
        if "/" in name:
            places: tuple[str, ...] = (str(file.parent / name),)
        else:
            places = tuple(f"{folder}/{name}" for folder in folders if self._may_have(folder, name))
        return next((place for place in places if self._is_for(machine, place)), None)

    def _may_have(self, folder: str, name: str) -> bool:
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        listed = self._listed[folder]
        return listed is None or name in listed

    def _list(self, folder: str) -> Collection[str] | None:
        """The names in a folder; None if it may be searched and not listed, or has too many."""
        real = os.path.realpath(folder)
        if real in self._listed:
            return self._listed[real]
        try:
            names: Collection[str] | None = frozenset(os.listdir(real))  # noqa: PTH208 -- names
        except PermissionError:
            names = None
        except OSError:
            names = ()
        if names is not None and len(names) > _MOST_LISTED:
            names = None
        self._listed[real] = names
        return names

    def _is_for(self, machine: int, library: str) -> bool:
        """Whether there is such a file for this processor, as far as can be told."""
        if library not in self._machines:
            try:
                self._machines[library] = machine_of(Path(library))
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError:
                self._machines[library] = None  # there, but not ours to read
        return self._machines[library] in (machine, None)


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
        if folder and len(folder) <= _LONGEST
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
