"""Which GPU code libraries carry: how many cubins and PTX texts, for which architectures.

Facts only. What they mean for a device is a matter of NVIDIA's rules, which are not applied here.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.binaries import files
from vllm_nix.errors import InputError
from vllm_nix.gpu import fatbin
from vllm_nix.gpu.capability import ComputeCapability

# See `fatbin.Fatbin.role`.
RUNS = ("host", "embedded")
ROLES = (*RUNS, "relocatable", "stub")


@dataclass(frozen=True, slots=True, order=True)
class Code:
    """What can be told apart: `isa` is the PTX ISA version such as "8.4", "" for other kinds."""

    kind: str
    capability: ComputeCapability
    isa: str

    @property
    def arch(self) -> str:
        return self.capability.arch(self.kind)


@dataclass(frozen=True, slots=True)
class Library:
    """A file and its GPU code; `damage` says what could not be read of it."""

    path: Path
    fatbins: tuple[fatbin.Fatbin, ...]
    damage: tuple[str, ...]

    def count(self, role: str) -> dict[Code, int]:
        """How many entries of each sort are in the fatbins of a role (`Fatbin.role`)."""
        return self.counts().get(role, {})

    def counts(self) -> dict[str, dict[Code, int]]:
        """`count` for all roles that there are."""
        # Tuples first: a library has thousands of entries, but few sorts of them.
        found: dict[str, Counter[tuple[str, ComputeCapability, tuple[int, ...]]]] = {}
        for one in self.fatbins:
            found.setdefault(one.role, Counter()).update(
                (entry.kind, entry.capability, entry.version if entry.kind == "ptx" else ())
                for entry in one.entries
            )
        return {
            role: {
                Code(kind, capability, ".".join(map(str, isa))): count
                for (kind, capability, isa), count in sorted(found[role].items())
            }
            for role in ROLES
            if role in found
        }


def archs(path: str | os.PathLike[str]) -> Library:
    """Read one library, executable, object file or archive.

    Raises InputError if it is none of these or cannot be read. Damage further inside is no error,
    as what is left can be read: see `Library.damage`.
    """
    path = Path(path)
    try:
        found = fatbin.read(path)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; name a library, an archive or a folder"
        ) from None
    except fatbin.FatbinError as error:
        raise InputError(f"{path}: {error}") from None
    return Library(path, found.fatbins, tuple(map(str, found.damage)))


def walk(folder: str | os.PathLike[str]) -> Iterator[Library]:
    """Read all that a folder holds, sorted by path; files of other kinds are passed over.

    Symbolic links are followed, also out of the folder, as an environment of links asks for; but
    no file or folder is visited twice, under the first of its paths. What cannot be read at all
    is a Library with damage.
    """
    tree = files.walk(Path(folder))
    unread = [Library(path, (), (why,)) for path, why in tree.left_out.items()]
    yield from sorted([*read_files(tree.files), *unread], key=lambda library: library.path)


def read_files(paths: Iterable[Path], stop: threading.Event | None = None) -> Iterator[Library]:
    """Read those of the files that may carry GPU code, each real file once. Raises
    InterruptedError once `stop` is set."""
    seen: set[str] = set()
    for path in paths:
        files.go_on(stop)
        try:
            real = os.path.realpath(path)
            if real in seen or not fatbin.is_candidate(path):
                continue
            seen.add(real)
            found = fatbin.read(path)
            yield Library(path, found.fatbins, tuple(map(str, found.damage)))
        except (OSError, fatbin.FatbinError) as error:
            yield _unread(path, error)


def _unread(path: Path, error: Exception) -> Library:
    return Library(path, (), (getattr(error, "strerror", None) or str(error),))
