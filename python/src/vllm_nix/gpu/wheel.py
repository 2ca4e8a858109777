"""The libraries in a wheel, or in another zip file, read without unpacking it into a folder.

A wheel is not trusted: what a member unpacks to is bounded before it is read, its name is for showing
alone, and a damaged member leaves the others readable.
"""


import mmap
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from vllm_nix.errors import InputError
from vllm_nix.gpu import fatbin
from vllm_nix.binaries.files import TEXT
from vllm_nix.gpu.inventory import Library

_MAGIC = b"PK\x03\x04"
# GPU code that nvcc does not compress shrinks to a tenth; zeros to a thousandth.
_MOST_TIMES, _LEAST_LIMIT = 100, 1 << 30
_CHUNK = 1 << 20
# What zipfile and its decompressors raise for damaged, encrypted or unknown data.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def is_wheel(path: Path) -> bool:
    """Whether a file starts as zip files do. Raises OSError."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_wheel(path: Path) -> Iterator[Library]:
    """The libraries of a wheel by the paths `<wheel>/<member>`. Raises InputError if it is none."""
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except _DAMAGE as error:
        raise InputError(f"{path}: not a wheel: {error}") from None
    with archive:
        left = max(_MOST_TIMES * path.stat().st_size, _LEAST_LIMIT)
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if info.is_dir() or PurePosixPath(info.filename).suffix in TEXT:
                continue
            place = Path(f"{path}/{info.filename}")
            if info.file_size > left:
                yield Library(place, (), (f"it unpacks to {info.file_size} bytes: not read",))
                continue
            try:
                with archive.open(info) as member:
                    found = _read(member)
            except (*_DAMAGE, OSError, fatbin.FatbinError) as error:
                yield Library(place, (), (getattr(error, "strerror", None) or str(error),))
                continue
            if found is not None:
                left -= info.file_size
                yield Library(place, found.fatbins, tuple(map(str, found.damage)))


def _read(member: IO[bytes]) -> fatbin.Contents | None:
    """None if it is no library. It is read through a file without a name, for it may be gigabytes."""
    start = member.read(_CHUNK)
    if not fatbin.is_start(start[:8]):
        return None
    with tempfile.TemporaryFile() as file:
        while start:
            file.write(start)
            start = member.read(_CHUNK)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return fatbin.parse(data)
