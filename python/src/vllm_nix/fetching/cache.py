"""The folder of verified downloads on their way to the store.

A file has its final name only once its hash is verified; everything else lies in `part-*` folders,
which the next fetch removes. One fetch at a time holds the folder.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vllm_nix.errors import Error, InputError
from vllm_nix.fetching.sources import Source
from vllm_nix.store import store_name

_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """`vllm-nix` in the user's folder for caches (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "vllm-nix"


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

    Raises `InputError` if it cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / "lock").open("w")
    except OSError as error:
        raise InputError(f"cannot use the cache folder {root}: {error.strerror}") from error
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
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
