"""Folders and files of the user's, as they write them."""

import errno
import os
from pathlib import Path
from typing import Any

from vllm_nix.errors import InputError
from vllm_nix.since_311 import tomllib

MOST_TEXT = 1 << 24  # bytes; the index of a model of 700 GB has 9 MB


def expand(path: str | Path) -> Path:
    """`path` with a leading ``~`` or ``~name`` as the home that it stands for. Raises `InputError`."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # no such user, or one without a home
        user = Path(path).parts[0]
        way_out = ": set HOME" if user == "~" else f" for {user}"
        raise InputError(f"{path}: no home folder is known{way_out}") from error


def real(path: Path) -> Path:
    """Where a path really leads, links followed. `Path.resolve` raises an error for one that leads to
    itself, before Python 3.13."""
    return Path(os.path.realpath(path))


def read_text(file: Path, *, or_pipe: bool = False) -> str:
    """A small text of anybody's: neither a device, nor without end, nor, unless asked, a pipe that nobody
    writes to. Raises OSError, and ValueError for what is larger or no text."""
    if not or_pipe and file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(file))
    # Some of the kernel's files wait until there is something to read.
    wait = 0 if or_pipe and file.is_fifo() else os.O_NONBLOCK
    with os.fdopen(os.open(file, os.O_RDONLY | wait), "rb") as stream:
        data = stream.read(MOST_TEXT + 1)
    if data is None:
        raise OSError(errno.EAGAIN, "it is waited for", str(file))
    if len(data) > MOST_TEXT:
        raise ValueError(f"larger than {MOST_TEXT >> 20} MiB, as none of its kind is")
    return data.decode()


def read_toml(file: Path, name: str = "") -> dict[str, Any]:
    """A file of a checkout's, which anybody may edit. Raises `InputError`, which calls it by its name."""
    try:
        return tomllib.loads(read_text(file))
    except RecursionError:
        raise InputError(f"{name or file}: its lists or tables are nested too deep") from None
    except OSError as error:
        raise InputError(f"{name or file}: {error.strerror}") from error
    except ValueError as error:  # of a number without end, too
        raise InputError(f"{name or file}: {error}") from error


def reason(error: OSError) -> str:
    """Why a file cannot be written, in words; and what tells more, where these tell too little."""
    words = str(error.strerror or error)
    if error.errno == errno.EPERM:
        words += " (immutable, append-only or another user's; `lsattr -d` and `ls -ld` say which)"
    return words


def cache_folder() -> Path:
    """`vllm-nix` in the user's folder for caches (XDG Base Directory Specification).

    Raises `InputError` if there is none.
    """
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "vllm-nix"
    try:
        return Path.home() / ".cache" / "vllm-nix"
    except RuntimeError as error:
        raise InputError("no home folder is known: set HOME or XDG_CACHE_HOME") from error


def check_writable(option: str, file: Path) -> None:
    """Raises `InputError`, which calls the file by its option, unless `write_whole` could write it.

    To be asked before a long run rather than after it.
    """
    try:
        if file.is_dir():
            raise InputError(f"{option} {file}: this is a folder; give a file")
        if not file.parent.is_dir():
            raise InputError(f"{option} {file}: there is no folder {file.parent}")
        if _is_stream(file):
            if not os.access(file, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        else:
            _part(file).touch()
            _part(file).unlink()
    except OSError as error:
        raise InputError(f"{option} {file}: {reason(error)}; give another file") from None


def write_whole(option: str, file: Path, content: bytes) -> None:
    """Writes all of the content, or leaves the file as it was. Raises `InputError`."""
    part = file if _is_stream(file) else _part(file)
    try:
        if part is file:
            # Else it would wait for somebody to read a pipe.
            descriptor = os.open(file, os.O_WRONLY | os.O_NONBLOCK)
            os.set_blocking(descriptor, True)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            return
        part.write_bytes(content)
        part.replace(file)
    except OSError as error:
        said = "nobody reads this pipe" if error.errno == errno.ENXIO else reason(error)
        raise InputError(f"{option} {file}: {said}") from None
    finally:
        if part is not file:
            part.unlink(missing_ok=True)


def _is_stream(file: Path) -> bool:
    """A pipe or a terminal, which nothing may take the place of."""
    return file.exists() and not file.is_file()


def _part(file: Path) -> Path:
    return file.with_name(f".{file.name}.{os.getpid()}")
