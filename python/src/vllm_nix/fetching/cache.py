"""Where files wait for the store: the folder of downloads, or one that the user gives by `--from`.

In the folder of downloads a file has its final name only once its hash is verified; everything else
lies in `part-*` folders, which the next fetch removes. One fetch at a time holds the folder.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.fetching.sources import Source
from vllm_nix.paths import reason
from vllm_nix.since_311 import file_digest
from vllm_nix.store import store_name

_log = logging.getLogger(__name__)


FULL = "No space left on device"  # as clients say it


class Cache:
    """An opened folder; see `open_cache`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, source: Source) -> Path:
        # Nix names what it adds after the file, so the hash cannot be in the name itself.
        return self.root / source.sha256 / store_name(source.file)

    def has(self, source: Source) -> bool:
        place = self.place(source)
        return place.is_file() and sha256(place) == source.sha256

    @contextmanager
    def part(self) -> Iterator[Path]:
        """An empty folder for one download, removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="part-", dir=self.root) as folder:
            yield Path(folder)

    def adopt(self, source: Source, file: Path) -> Path:
        """Gives a download its final name if its hash is right. Raises `Error`."""
        if not file.is_file():
            raise Error(f"{source.file} was not downloaded, although its client said so")
        check_hash(source, file)
        place = self.place(source)
        place.parent.mkdir(exist_ok=True)
        return file.replace(place)

    def drop(self, source: Source) -> None:
        """Forgets a file that is in the store now."""
        shutil.rmtree(self.place(source).parent, ignore_errors=True)


@contextmanager
def open_cache(root: Path) -> Iterator[Cache]:
    """Makes the folder, waits for another fetch that holds it, and removes what a killed one left.

    Raises `InputError` if it cannot be created.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / "lock").open("w")
    except OSError as error:
        raise InputError(
            f"cannot use the cache folder {root}: {reason(error)}; set XDG_CACHE_HOME to another"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("waiting for another fetch, which holds %s", root)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in root.glob("part-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield Cache(root)


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def check_hash(source: Source, file: Path) -> None:
    """Raises `Error` with both hashes unless the file is the source."""
    if (found := sha256(file)) != source.sha256:
        raise Error(f"{file} has a wrong hash: sha256 {found} instead of {source.sha256}")


def size_below(folder: Path) -> int:
    """Bytes in the files below a folder that others are writing to."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(place) / name).stat().st_size
    return total


def find_given(sources: Sequence[Source], folder: Path) -> tuple[dict[Source, Path], list[Source]]:
    """The sources that are in or below a folder, with their files, and those that are not.

    They are found by name and accepted by hash. Raises `Error` for a file with a wrong hash.
    """
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.resolve().rglob("*")):
        files.setdefault(file.name, []).append(file)
    found, absent = {}, []
    for source in sources:
        if candidates := [file for file in files.get(source.file, ()) if file.is_file()]:
            found[source] = _right_one(source, candidates)
        else:
            absent.append(source)
    return found, absent


def _right_one(source: Source, candidates: Sequence[Path]) -> Path:
    wrong: Error | None = None
    for file in candidates:
        try:
            check_hash(source, file)
            return file
        except Error as error:
            wrong = wrong or error
    raise wrong or AssertionError("no candidates")


def check_room(size: int, *folders: Path) -> None:
    """Raises `Unavailable` unless each folder's disk holds `size` bytes for each of its folders."""
    needs: dict[int, list[Path]] = {}
    for folder in folders:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        needs.setdefault(existing.stat().st_dev, []).append(existing)
    for places in needs.values():
        need, free = size * len(places), shutil.disk_usage(places[0]).free
        if free < need:
            raise Unavailable(
                f"not enough room: {' and '.join(map(str, places))} need {need / 1e6:,.0f} MB, and"
                f" {free / 1e6:,.0f} MB are free; free some, or set XDG_CACHE_HOME to another disk"
            )


def disk_full(folder: Path) -> Unavailable:
    """The error for a disk that became full during a fetch."""
    return Unavailable(
        f"the disk of {folder} is full; free some room, or set XDG_CACHE_HOME to another disk,"
        " and fetch again: what has been fetched stays"
    )
