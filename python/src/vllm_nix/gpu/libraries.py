"""Which GPU code libraries carry: how many cubins and PTX texts, for which architectures.

Facts only. What they mean for a device is a matter of NVIDIA's rules, which are not applied here.
"""

from __future__ import annotations  # which pathlib need not be imported for

import itertools
import os
from _collections_abc import Iterable, Iterator

from vllm_nix.binaries import elf, files
from vllm_nix.errors import InputError
from vllm_nix.gpu import fatbin
from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.mark import Mark
from vllm_nix.light import NamedTuple

TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path
    from typing import IO

# See `fatbin.Fatbin.role`.
RUNS = ("host", "embedded")
ROLES = (*RUNS, "relocatable", "stub")


class Code(NamedTuple):
    """What is counted apart: `isa` is the PTX ISA version such as "8.4", "" for other kinds."""

    kind: str
    capability: ComputeCapability
    isa: str

    @property
    def arch(self) -> str:
        return self.capability.arch(self.kind)


class Library(NamedTuple):
    """A file and its GPU code; `damage` says what could not be read of it, `mark` what was removed.
    With a `note`, it is a path that was passed over, and why."""

    file: str | os.PathLike[str]
    fatbins: tuple[fatbin.Fatbin, ...]
    damage: tuple[str, ...]
    mark: Mark | None = None
    note: str = ""

    @property
    def path(self) -> Path:
        from pathlib import Path

        return Path(self.file)

    @classmethod
    def of(cls, path: str | os.PathLike[str], found: fatbin.Contents) -> Library:
        return cls(path, found.fatbins, tuple(map(str, found.damage)), found.mark)

    @property
    def is_bare(self) -> bool:
        """Whether it is a cubin or a fatbin and nothing else, such as FlashInfer has 10,000 of: who loads
        it has picked it for the device."""
        return all(not (one.section or one.member) for one in self.fatbins) and any(
            one.offset == 0 for one in self.fatbins
        )

    def counts(self) -> dict[str, dict[Code, int]]:
        """How many entries of each sort are in the fatbins of each role (`Fatbin.role`) that there is."""
        # Tuples first: a library has thousands of entries, but few sorts of them.
        found: dict[str, dict[tuple[str, ComputeCapability, tuple[int, ...]], int]] = {}
        for one in self.fatbins:
            role = one.role
            counts = found.get(role)
            if counts is None:
                counts = found[role] = {}
            for entry in one.entries:
                kind = entry.kind
                sort = (kind, entry.capability, entry.version if kind == "ptx" else ())
                counts[sort] = counts.get(sort, 0) + 1
        return {
            role: {
                Code(kind, capability, ".".join(map(str, isa))): count
                for (kind, capability, isa), count in sorted(found[role].items())
            }
            for role in ROLES
            if role in found
        }


def read_path(path: str | os.PathLike[str]) -> Iterable[Library]:
    """Read a library, a wheel, or all of a folder. Raises InputError as `read_library` does."""
    text = os.fspath(path)
    if not text:  # as of a variable that is not set, which would be the working directory
        raise InputError("an empty path; name a library, a wheel or a folder")
    if os.path.isdir(path):  # noqa: PTH112
        return read_folder(path)
    is_wheel = _is_zip(path) or (text.endswith(".whl") and os.path.isfile(path))  # noqa: PTH113
    return read_wheel(path) if is_wheel else [read_library(path)]


def read_library(path: str | os.PathLike[str]) -> Library:
    """Read one library, executable, object file or archive.

    Raises InputError if it is none of these or cannot be read. Damage further inside is no error,
    as what is left can be read: see `Library.damage`.
    """
    try:
        found = fatbin.read(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a library, a wheel or a folder") from None
    except fatbin.FatbinError as error:
        raise InputError(f"{path}: {error}") from None
    return Library.of(path, found)


def read_folder(folder: str | os.PathLike[str]) -> Iterator[Library]:
    """Read all that a folder holds, wheels as well, by path; files of other kinds are passed over.

    Links to files are followed, and links to folders in it or in the Nix store, as an environment of
    links asks for; no file or folder is visited twice, under the first of its paths. What cannot be
    read at all is a Library with damage, and a link to a folder elsewhere one with a note.
    """
    from pathlib import Path

    tree = files.walk(Path(folder))
    found = [Library(path, (), (why,)) for path, why in tree.left_out.items()]
    for path, end in tree.links_out.items():
        found.append(
            Library(path, (), (), note=f"a link to {end} is not followed; name that as well")
        )
    for path in tree.files:
        if path.suffix == ".whl":
            found += read_wheel(path)
    found += read_libraries(tree.files)
    yield from sorted(found, key=lambda library: library.path)


def read_libraries(
    tree: Mapping[Path, os.stat_result], stop: threading.Event | None = None
) -> Iterator[Library]:
    """Read those of regular files, given with their status, that may carry GPU code, each real one
    once. Raises InterruptedError once `stop` is set."""
    seen: set[object] = set()
    for path, status in tree.items():
        files.go_on(stop)
        try:
            # Hard links are files of their own.
            is_one = status.st_nlink == 1
            real = (status.st_dev, status.st_ino) if is_one else os.path.realpath(path)
            if real in seen or not fatbin.is_candidate(path):
                continue
            seen.add(real)
            found = fatbin.read(path)
            yield Library.of(path, found)
        except (OSError, fatbin.FatbinError) as error:
            yield _unread(path, error)


# GPU code that nvcc does not compress shrinks to a tenth in a wheel; zeros shrink to a thousandth.
_MOST_TIMES, _LEAST_LIMIT = 100, 1 << 30
_PIECE = 1 << 20


def read_wheel(path: str | os.PathLike[str]) -> Iterator[Library]:
    """Read the libraries in a wheel (a zip file), by the paths `<wheel>/<member>`.

    What a member unpacks to is bounded, its name is for showing alone, and what is damaged is a
    Library with damage, as are members that zipfile cannot read.
    """
    import zipfile  # with the compressors and all that is below, 20 ms that few ask for
    import zlib
    from pathlib import Path

    broken = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)
    path = Path(path)
    try:
        left = max(_MOST_TIMES * path.stat().st_size, _LEAST_LIMIT)
        wheel = zipfile.ZipFile(path)
    except (*broken, OSError) as error:
        yield _unread(path, error)
        return
    with wheel:
        members = sorted(wheel.infolist(), key=lambda info: info.header_offset)
        ends = {
            id(one): one.header_offset + one.compress_size < after.header_offset
            for one, after in itertools.pairwise(members)
        }
        for info in sorted(members, key=lambda info: info.filename):
            place = Path(f"{path}/{info.filename}")
            if not ends.get(id(info), True):  # as a bomb has it, whose members are one and the same
                yield Library(place, (), ("overlaps another member of the wheel: not read",))
                continue
            if info.is_dir() or place.suffix in files.TEXT:
                continue
            try:
                with wheel.open(info) as member:
                    start = member.read(_PIECE)
                    if not fatbin.is_start(start[:8]):
                        continue
                    if info.file_size > left:
                        yield Library(place, (), (f"unpacks to {info.file_size} bytes: not read",))
                        continue
                    left -= info.file_size
                    found = _unpacked(start, member)
                yield Library.of(place, found)
            except (*broken, OSError, fatbin.FatbinError) as error:
                yield _unread(place, error)


def _unpacked(start: bytes, member: IO[bytes]) -> fatbin.Contents:
    """By way of a file without a name, for it may be gigabytes."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        while start:
            file.write(start)
            start = member.read(_PIECE)
        file.flush()
        with elf.whole(file.fileno()) as data:
            return fatbin.parse(data)


def _is_zip(path: str | os.PathLike[str]) -> bool:
    """Raises no error: what cannot be read is for `read_library` to say."""
    try:
        with files.open_regular(path) as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def _unread(path: Path, error: Exception) -> Library:
    return Library(path, (), (getattr(error, "strerror", None) or str(error),))
