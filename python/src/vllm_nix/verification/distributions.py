"""The distributions installed in a folder, read from their metadata and never imported."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.metadata import parse_email
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

_LARGEST = 1 << 26  # bytes of metadata or of RECORD; torch's has 2 MB


@dataclass(frozen=True, slots=True)
class Distribution:
    """`folder` is its .dist-info; `name` is normalised; `requires` as written (PEP 508).
    If its metadata are unreadable, `problem` says why, and the folder's name tells the rest."""

    folder: Path
    name: str
    version: str
    requires: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of RECORD (the binary distribution format): `path` is relative to site-packages."""

    path: str
    algorithm: str
    digest: str
    size: int | None


def read_distributions(site_packages: Path) -> tuple[Distribution, ...]:
    """All distributions whose .dist-info lies in `site_packages`, by folder name."""
    return tuple(_read(folder) for folder in sorted(site_packages.glob("*.dist-info")))


def is_same_version(one: str, other: str) -> bool:
    """Whether two versions are equal, however they are written: folders have 1.0.0rc1 where
    METADATA may have 1.0.0-rc1."""
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def read_record(distribution: Distribution) -> tuple[Entry, ...] | None:
    """The entries of RECORD; None if there is none. Raises ValueError for what is not a RECORD."""
    try:
        text = read_text(distribution.folder / "RECORD")
    except FileNotFoundError:
        return None
    return tuple(_entries(text))


def _read(folder: Path) -> Distribution:
    name, _, version = folder.name.removesuffix(".dist-info").partition("-")
    called = canonicalize_name(name), version
    try:
        raw, _ = parse_email(read_text(folder / "METADATA"))
        return Distribution(
            folder,
            canonicalize_name(raw["name"]),
            raw["version"],
            tuple(raw.get("requires_dist", ())),
        )
    except KeyError as error:
        return Distribution(
            folder, *called, problem=f"METADATA has no {error.args[0].capitalize()}"
        )
    except (OSError, ValueError) as error:
        return Distribution(folder, *called, problem=f"METADATA cannot be read: {error}")


def _entries(text: str) -> Iterator[Entry]:
    try:
        for row in csv.reader(text.splitlines()):
            path, hashed, size = row
            algorithm, _, digest = hashed.partition("=")
            yield Entry(path, algorithm, digest, int(size) if size else None)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"RECORD cannot be read: {error}") from error


def read_text(file: Path) -> str:
    """The text of a metadata file. Raises ValueError, or OSError if it is no regular file."""
    if not file.is_file():  # opening a pipe would wait for ever
        raise FileNotFoundError(f"{file.name} is missing")
    with file.open("rb") as stream:
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"larger than {_LARGEST} bytes")
    return data.decode("utf-8")
