"""Files and folders that are there while a command runs: gone with it, or, if it was killed, when the next one starts.

Each is locked by who made it, and a lock ends with its process, however that ends.
"""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from vllm_nix.process import run


@contextmanager
def folder(prefix: str, suffix: str = "", parent: Path | None = None) -> Iterator[Path]:
    """An empty folder of ours in `parent`, else where temporary ones are; it may be renamed.

    The prefix is to be nobody else's: what has it, and is no longer used, is removed.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    _remove_left(parent, prefix, suffix)
    with ExitStack() as stack:
        while True:
            made = tempfile.TemporaryDirectory(suffix, prefix, parent, ignore_cleanup_errors=True)
            new = Path(made.name)
            stack.callback(_remove, new, made.cleanup)
            try:
                descriptor = os.open(new, os.O_RDONLY)
            except FileNotFoundError:  # another, that starts just now, took it for left
                continue
            stack.callback(os.close, descriptor)
            if _is_taken(new, descriptor):
                break
        yield new


@contextmanager
def file_beside(target: Path) -> Iterator[tuple[Path, int]]:
    """A new file beside the target, and its descriptor; gone at the end if it was not renamed."""
    prefix, suffix = names_beside(target)
    _remove_left(target.parent, prefix, suffix)
    with ExitStack() as stack:
        while True:
            descriptor, name = tempfile.mkstemp(suffix, prefix, target.parent)
            stack.callback(Path(name).unlink, missing_ok=True)
            stack.callback(os.close, descriptor)
            if _is_taken(Path(name), descriptor):
                break
        yield Path(name), descriptor


def names_beside(target: Path) -> tuple[str, str]:
    """Prefix and suffix of what becomes the target."""
    return f".{target.name}.", ".new"


def is_beside(file: Path) -> bool:
    """Whether it has such a name."""
    return file.name.startswith(".") and file.suffix == ".new"


def _remove_left(parent: Path, prefix: str, suffix: str) -> None:
    """Removes what was made with these names by processes that were killed."""
    for left in parent.glob(f"{glob.escape(prefix)}*{glob.escape(suffix)}"):
        with suppress(OSError), _opened(left) as descriptor:
            is_own = os.fstat(descriptor).st_uid == os.geteuid()
            if not (is_own and _is_taken(left, descriptor, or_lockless=False)):
                continue
            if left.is_dir():
                _remove(left, partial(shutil.rmtree, left, ignore_errors=True))
            else:
                left.unlink()


def _remove(folder: Path, remove: Callable[[], None]) -> None:
    try:
        remove()
    except RecursionError:
        # Programs may have put there what is deeper than Python goes, before 3.13.
        with suppress(OSError):
            run(["rm", "-rf", "--", folder], environment=os.environ)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_taken(path: Path, descriptor: int, *, or_lockless: bool = True) -> bool:
    """Locks it; False if somebody else has it, or had, and removed it.

    Where a disk knows no locks, nothing that was left is removed.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return or_lockless
