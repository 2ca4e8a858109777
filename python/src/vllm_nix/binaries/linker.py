"""The dynamic loader's view of a process: which libraries are loaded, and where each is found.

As glibc's loader has it (ld.so(8)): a name that something loaded before goes by is that; else it is
looked for along the DT_RPATH of the library that asks and of those that loaded it, unless it has a
DT_RUNPATH; in LD_LIBRARY_PATH; along its own DT_RUNPATH; in the loader's cache; and in the folders that
are compiled into the loader. A Python of Nix's or of conda's has another loader than the host: its
folders and its cache are read from its file.
"""

import os
import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf, ElfError
from vllm_nix.binaries.files import AARCH64, machine_of, open_regular

# Each library is looked for in each folder. torch's libraries have some 20 of either.
MOST_NEEDED, MOST_FOLDERS = 500, 500
MOST_LOADED = 4000  # objects of a process; vLLM's has 300
_LONGEST = 4096  # bytes of a path, PATH_MAX: the loader takes no longer one
_MOST_LISTED = 100_000  # files of a folder that are remembered
_MOST_LOADER = 1 << 25  # bytes of a loader, or of its cache; real ones have 200 kB
_DEFAULT_FOLDERS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
_NODEFLIB = 0x800  # DF_1_NODEFLIB: the defaults are not looked in
# Strings in a loader: its cache's path, and its folders, one after the other, each with a slash at its end.
_CACHE = re.compile(rb"/[\x21-\x7e]{0,255}ld\.so\.cache(?=\0)")
_FOLDERS = re.compile(rb"(?:/(?:[\x21-\x7e]{1,255}/)?\0){2,16}")
_FOLDER = re.compile(rb"/[\x21-\x7e]*/(?=\0)")
_LIB = re.compile(
    rb"\0(lib(?:/[a-z0-9_]{1,20}-linux-gnu[a-z0-9]{0,8}|64|))\0"
)  # glibc's DL_DST_LIB


class LinkerError(Exception):
    """A file that asks for more than we look up; the message says of what."""


@dataclass(frozen=True, slots=True)
class Loader:
    """A dynamic loader: its `file` if it is known, the `folders` that it looks in by itself, its
    `cache`, paths by the name of a library, and what it takes for $LIB; any of `_LIBS` if not known."""

    file: Path | None
    folders: tuple[str, ...]
    cache: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lib: str | None = None


def read_loader(binary: Path, image: Elf, *, alone: bool = False) -> Loader:
    """The loader of a program: the one that it names, or its own if it is static.

    `alone` is one that is to find nothing but what lies beside it. One that cannot be read, as where
    an emulator keeps it, is taken for one of its kind.
    """
    file = Path(image.interpreter) if image.interpreter else binary
    if alone:
        return Loader(file, (str(file.parent),))
    try:
        with open_regular(file) as stream:
            data = stream.read(_MOST_LOADER)
    except OSError:
        data = b""
    folders = [
        os.fsdecode(found.group()).rstrip("/") or "/"
        for run in _FOLDERS.finditer(data)
        for found in _FOLDER.finditer(run.group())
        if re.search(rb"/lib|/nix/", found.group())
    ]
    caches = [os.fsdecode(found.group()) for found in _CACHE.finditer(data)]
    if not folders:  # one folder alone, as Nix's glibc has, or another C library
        folders = [str(file.parent), *(_DEFAULT_FOLDERS if not _is_of_store(file) else ())]
    libs = sorted((found[1].decode() for found in _LIB.finditer(data)), key=len)
    cache_ = _read_cache(caches[0]) if caches else {}
    return Loader(file, tuple(dict.fromkeys(folders)), cache_, libs[-1] if libs else None)


def _is_of_store(file: Path) -> bool:
    return str(file).startswith(("/nix/store/", "/gnu/store/"))


_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER = struct.Struct("<20sII5I")
_CACHE_ENTRY = struct.Struct("<iIIIQ")


def _read_cache(path: str) -> Mapping[str, tuple[str, ...]]:
    """What ldconfig(8) wrote, in glibc's dl-cache.h form; empty if there is no such file."""
    try:
        with open_regular(path) as stream:
            data = stream.read(_MOST_LOADER)
    except OSError:
        return {}
    start = data.find(_CACHE_MAGIC)
    if start < 0 or len(data) < start + _CACHE_HEADER.size:
        return {}
    count = _CACHE_HEADER.unpack_from(data, start)[1]
    first = start + _CACHE_HEADER.size
    count = min(count, (len(data) - first) // _CACHE_ENTRY.size)
    entries = _CACHE_ENTRY.iter_unpack(data[first : first + count * _CACHE_ENTRY.size])
    found: dict[str, list[str]] = {}
    for _, key, value, _, _ in entries:
        name, place = _text(data, start + key), _text(data, start + value)
        if name and place.startswith("/"):
            found.setdefault(name, []).append(place)
    return {name: tuple(places) for name, places in found.items()}


def _text(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset, offset + _LONGEST)
    return os.fsdecode(data[offset:end]) if end > 0 else ""


@dataclass(frozen=True, slots=True)
class Object:
    """A loaded file: the path under which it was found, and what asked for it."""

    path: str
    image: Elf
    parent: "Object | None" = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A name that nothing goes by, and who asks for it. The loader may find a file of that name, and stop
    at it `at` its place, as it is no ELF file."""

    name: str
    by: Object
    at: str = ""


@dataclass(slots=True)
class Linker:
    """Finds libraries for the programs of one loader. `provided` are names that are there anyway, as
    the driver's. Each folder is listed once, and each file's headers are read once."""

    loader: Loader
    library_path: tuple[str, ...] = ()
    provided: Collection[str] = frozenset()
    images: dict[str, Elf | None] = field(default_factory=dict)
    _listed: dict[str, Collection[str] | None] = field(default_factory=dict)
    _machines: dict[str, int | None] = field(default_factory=dict)

    def find(self, name: str, by: Object, program: Object | None = None) -> str | None:
        """Where the loader finds a library that `by` needs; it goes on after one for another
        processor. Raises `LinkerError`."""
        if "/" in name:  # a relative path is one from the folder in which a process happens to work
            paths = (path for path in self._expanded(name, by) if path.startswith("/"))
            return next((path for path in paths if self._is_for(by.image.machine, path)), None)
        folders = self._folders(by, program)
        machine = by.image.machine
        for folder in folders:
            if (place := self._in(folder, name, machine)) is not None:
                return place
        if _flags(by) & _NODEFLIB:
            return None
        for place in self.loader.cache.get(name, ()):
            if self._is_for(machine, place):
                return place
        defaults = (self._in(folder, name, machine) for folder in self.loader.folders)
        return next((place for place in defaults if place is not None), None)

    def image(self, path: str) -> Elf | None:
        """The headers of a file; None if they cannot be read."""
        if path not in self.images:
            try:
                self.images[path] = elf.read(path)
            except (ElfError, OSError):
                self.images[path] = None
        return self.images[path]

    def _folders(self, by: Object, program: Object | None) -> Iterator[str]:
        dynamic = by.image.dynamic
        if dynamic is None or not dynamic.runpath:
            chain: Object | None = by
            last = None
            while chain is not None:
                yield from self._run_path(chain, "rpath")
                last, chain = chain, chain.parent
            if program is not None and last is not program:
                yield from self._run_path(program, "rpath")
        for folder in self.library_path:
            yield from self._expanded(folder, program or by)
        if dynamic is not None and dynamic.runpath:
            yield from self._run_path(by, "runpath")

    def _run_path(self, one: Object, kind: str) -> Iterator[str]:
        """The folders of a file's DT_RPATH or DT_RUNPATH, of which the first counts only without the
        other; $ORIGIN is the folder in which it was found, links not followed."""
        dynamic = one.image.dynamic
        if dynamic is None or (kind == "rpath" and dynamic.runpath):
            return
        for folder in getattr(dynamic, kind)[:MOST_FOLDERS]:
            if folder and len(folder) <= _LONGEST:
                yield from self._expanded(folder, one)

    def _expanded(self, text: str, one: Object) -> Iterator[str]:
        """With ld.so's dynamic string tokens in place."""
        if "$" not in text:
            yield text
            return
        processor = "aarch64" if one.image.machine == AARCH64 else "x86_64"
        values = {
            "ORIGIN": os.path.dirname(one.path),  # noqa: PTH120 -- as it was found
            "PLATFORM": processor,
        }
        libs = (self.loader.lib,) if self.loader.lib else (*_LIBS, f"lib/{processor}-linux-gnu")
        for lib in libs if "LIB" in text else ("",):
            yield _TOKEN.sub(partial(_value, values | {"LIB": lib}), text)

    def _in(self, folder: str, name: str, machine: int) -> str | None:
        """The library in a folder, or below it in one for newer processors (glibc-hwcaps)."""
        for place in (*(f"{folder}/glibc-hwcaps/{one}" for one in self._levels(folder)), folder):
            if self._may_have(place, name) and self._is_for(machine, f"{place}/{name}"):
                return f"{place}/{name}"
        return None

    def _levels(self, folder: str) -> tuple[str, ...]:
        return processor_levels() if self._may_have(folder, "glibc-hwcaps") else ()

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

    def stops_at(self, library: str) -> bool:
        """Whether the loader ends where it finds this, as it does not go on after what is no ELF file."""
        return self._machines.get(library) == _NO_ELF

    def _is_for(self, machine: int, library: str) -> bool:
        """Whether the loader takes such a file for this processor, as far as files say."""
        if library not in self._machines:
            try:
                number = machine_of(Path(library))
                self._machines[library] = _NO_ELF if number is None else number
            except (FileNotFoundError, NotADirectoryError):
                return False
            except PermissionError:
                self._machines[library] = None  # there, but not ours to read
            except OSError:
                self._machines[library] = _NO_ELF  # a folder, or a pipe
        return self._machines[library] in (machine, None, _NO_ELF)


_NO_ELF = -1
_LIBS = ("lib64", "lib")


class Process:
    """The libraries that are loaded, in the loader's order; `names` is what they go by."""

    def __init__(self, linker: Linker, program: Object | None = None) -> None:
        self.linker = linker
        self.program = program
        self.objects: list[Object] = []
        self.names: dict[str, Object | None] = {}

    def copy(self) -> "Process":
        """A process that goes on from here by itself."""
        other = Process(self.linker, self.program)
        other.objects, other.names = list(self.objects), dict(self.names)
        return other

    def load(self, path: str, image: Elf) -> tuple[tuple[Object, ...], tuple[Missing, ...]]:
        """Loads a file by its path, as an import does, and all that it needs: the search list of
        its symbols (breadth first), loaded before or not, and the names that are not found.

        Raises `LinkerError`.
        """
        first = Object(path, image)
        return self._load(first)

    def start(self, path: str, image: Elf, preload: Sequence[str] = ()) -> tuple[Missing, ...]:
        """Loads the program itself, with its loader, and what LD_PRELOAD names before what it needs."""
        self.program = Object(path, image)
        # One that is not there is passed over with a message.
        named = (self._named(name, self.program)[0] for name in preload)
        _, missing = self._load(self.program, *filter(None, named))
        loader = self.linker.loader.file
        if loader is not None and (own := self.linker.image(str(loader))) is not None:
            self._add(Object(str(loader), own))
        return missing

    def _load(
        self, first: Object, *others: Object
    ) -> tuple[tuple[Object, ...], tuple[Missing, ...]]:
        scope, missing = [first, *others], []
        seen = {one.path for one in scope}
        self._add(first)
        for current in scope:
            dynamic = current.image.dynamic
            if dynamic is None:
                continue
            _check(current)
            for name in dynamic.needed:
                found, known = self._named(name, current)
                if not known:
                    place = self.linker.find(name, current, self.program)
                    missing.append(Missing(name, current, place or ""))
                elif found is not None and found.path not in seen:
                    if len(scope) >= MOST_LOADED:
                        raise LinkerError(f"more than {MOST_LOADED} libraries are needed")
                    seen.add(found.path)
                    scope.append(found)
        return tuple(scope), tuple(missing)

    def _named(self, name: str, by: Object) -> tuple[Object | None, bool]:
        """The object that goes by a name, None if it is not ours to read, and whether there is one."""
        if name in self.names:
            return self.names[name], True
        place = self.linker.find(name, by, self.program)
        if place is not None and self.linker.stops_at(place):
            return None, False
        if place is None:
            if name in self.linker.provided:
                self.names[name] = None
                return None, True
            return None, False
        image = self.linker.image(place)
        found = Object(place, image, by) if image is not None else None
        self.names[name] = found
        if found is not None:
            self._add(found)
        return found, True

    def _add(self, loaded: Object) -> None:
        self.objects.append(loaded)
        soname = loaded.image.soname
        if soname:
            self.names.setdefault(soname, loaded)


def _check(one: Object) -> None:
    dynamic = one.image.dynamic
    if dynamic is None:
        return
    if len(dynamic.needed) > MOST_NEEDED:
        count = len(dynamic.needed)
        raise LinkerError(f"needs {count} libraries, more than the {MOST_NEEDED} looked for")
    count = max(len(dynamic.runpath), len(dynamic.rpath))
    if count > MOST_FOLDERS:
        raise LinkerError(f"a run path of {count} folders, more than {MOST_FOLDERS}")


def _flags(one: Object) -> int:
    return one.image.dynamic.flags if one.image.dynamic else 0


_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


def _value(values: Mapping[str, str], found: re.Match[str]) -> str:
    return values[found[1] or found[2]]


# What the levels of the x86-64 psABI ask of a processor, by the names of proc_cpuinfo(5).
_X86_64 = {
    "x86-64-v2": "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    "x86-64-v3": "abm avx avx2 bmi1 bmi2 f16c fma movbe",
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}


@cache
def processor_levels() -> tuple[str, ...]:
    """The subfolders of glibc-hwcaps that this machine's loader looks in, the best first."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
            flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    except OSError:
        return ()
    found: list[str] = []
    for level, wanted in _X86_64.items():
        if not flags.issuperset(wanted.split()):
            break
        found.insert(0, level)
    return tuple(found)


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
