"""The source files that a set needs, each with its place in the store.

They are wheels, source archives and Debian packages.
"""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.data import DEBIAN, PACKAGES
from vllm_nix.errors import InputError
from vllm_nix.locks.pylock import read_lock
from vllm_nix.locks.requirements import DEBIAN_SETS, Requirements, load_requirements
from vllm_nix.paths import read_toml
from vllm_nix.store import fixed_path, store_name
from vllm_nix.targets import Target, load_target, target_names

BASES = ("debian", "nixpkgs")
# The packages whose sources.toml lists source archives of the Python registry, or wheels with sources.
SDIST_SETS = {"vllm-sources": ("vllm", "flash-attn", "vllm-ascend", "registry-sdist", "cutlass")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file with a known hash: its name, hexadecimal sha256, and size in bytes if known."""

    file: str
    sha256: str
    size: int | None = None

    @property
    def path(self) -> Path:
        """Where it belongs in the store."""
        return fixed_path(store_name(self.file), self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipSource(Source):
    """A file of a package's release, as pip downloads it for `python` (``major.minor``)."""

    name: str
    version: str
    python: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSource(PipSource):
    """A wheel; `index` is where else than in pip's own indexes it may be."""

    index: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SdistSource(PipSource):
    """A source archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorSource(Source):
    """A file that its vendor alone hands out, at `url`, to those who accept its licence."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DebSource(Source):
    """A Debian package: `pool_path` is its path below any mirror of `suite`."""

    pool_path: str
    suite: str
    component: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """One executable of a package, as a folder in the store: what unpacks the first package.

    `member` is its name in the package, `place` below the folder `name`; `sha256` is of the NAR.
    """

    deb: DebSource
    member: str
    place: str
    name: str
    sha256: str

    @property
    def path(self) -> Path:
        return fixed_path(self.name, self.sha256, recursive=True)


@dataclass(frozen=True, slots=True)
class Sources:
    """All that some sets need, without repetitions."""

    files: tuple[Source, ...]
    executables: tuple[Executable, ...] = ()


def this_system() -> str:
    """This machine, as Nix calls it."""
    return f"{platform.machine()}-linux"


def set_names() -> tuple[str, ...]:
    """What can be fetched: the targets, and the parts of the embedded base, source archives."""
    return (*target_names(), *DEBIAN_SETS, *SDIST_SETS)


def load_sources(sets: Iterable[str], system: str | None = None, base: str = "debian") -> Sources:
    """What the named sets need on a Nix system (default: this machine's), on a base.

    A target on the embedded base needs that base too. Raises `InputError`.
    """
    system = system or this_system()
    names = list(dict.fromkeys(sets))
    files: dict[Path, Source] = {}
    executables: list[Executable] = []
    for name in names:
        if name not in set_names():
            raise InputError(f"unknown set '{name}'; there are: {', '.join(set_names())}")
        files |= {source.path: source for source in _own_sources(name, system)}
    if "debian" in names or (base == "debian" and not {*target_names()}.isdisjoint(names)):
        debs, found = _debs(DEBIAN / f"debs.{system}.json")
        files |= {source.path: source for source in debs}
        files |= {source.path: source for source in _wheels(load_requirements("debian"), system)}
        executables += found
    return Sources(tuple(files.values()), tuple(executables))


def _own_sources(name: str, system: str) -> Sequence[Source]:
    if packages := SDIST_SETS.get(name):
        return [source for package in packages for source in _sdists(package)]
    requirements = load_requirements(name)
    if name not in target_names():
        debs = requirements.folder / f"debs.{system}.json"
        return [*_wheels(requirements, system), *(_debs(debs)[0] if requirements.has_debs else ())]
    target = load_target(name)
    if system not in target.systems:
        raise InputError(f"{name} is not for {system}; it is for {', '.join(target.systems)}")
    return [*_neuron(target), *_wheels(requirements, system), *_made(target)]


def _neuron(target: Target) -> list[VendorSource]:
    """The files of AWS Neuron's SDK that a target needs, but for those without a known hash."""
    path = PACKAGES / "neuron" / "sdk.toml"
    sdk = target.data.get("neuron", {}).get("sdk", "")
    releases = read_toml(path)
    if sdk and sdk not in releases:
        known = ", ".join(sorted(releases))
        raise InputError(f"AWS Neuron's SDK {sdk} is not known here; there are: {known}")
    files = releases.get(sdk, {})
    places = {
        "wheels": "https://pip.repos.neuron.amazonaws.com",
        "debs": "https://apt.repos.neuron.amazonaws.com/pool/main/a",
    }
    return [
        VendorSource(
            file=row["file"],
            sha256=row["sha256"],
            url=f"{place}/{name}/{row['file'].replace('+', '%2B')}",
        )
        for kind, place in places.items()
        for name, row in files.get(kind, {}).items()
        if "sha256" in row
    ]


def _made(target: Target) -> list[PipSource]:
    """The source archives, and wheels, of what a target makes from the registry's."""
    built = {(name, target.release(name)) for name in target.components()}
    if "cutlass" in target.data:
        built.add(("nvidia-cutlass", f"{target.release('cutlass')}.0"))
    rows = [
        source for packages in SDIST_SETS.values() for name in packages for source in _sdists(name)
    ]
    sources = [source for source in rows if (source.name, source.version) in built]
    return sources + (_sdists("models") if "models" in target.data else [])


def _wheels(requirements: Requirements, system: str) -> list[PipSource]:
    requirements.check_system(system)
    path = requirements.lock_file(system)
    lock = read_lock(path)
    requirements.check_current(lock, path)
    index = requirements.indexes_for(system)
    return [
        WheelSource(
            file=wheel.file,
            sha256=wheel.sha256,
            size=wheel.size,
            name=wheel.name,
            version=wheel.version,
            python=lock.python,
            index=index.get(wheel.name),
        )
        for wheel in lock.wheels
    ]


def _sdists(package: str) -> list[PipSource]:
    path = PACKAGES / package / "sources.toml"
    try:
        tables = read_toml(path)
        return [
            (WheelSource if "wheel" in row else SdistSource)(
                file=f"{row.get('name') or name.replace('-', '_')}-{version}{_suffix(row)}",
                sha256=row["sha256"],
                size=row["size"],
                name=name,
                version=version,
                python="3.11",  # every target's
            )
            for name, versions in tables.items()
            if name != "github"  # for nixpkgs' fetchers
            for version, row in versions.items()
        ]
    except KeyError as error:
        raise InputError(f"{path}: {error} is missing") from error


def _suffix(row: Mapping[str, str]) -> str:
    return f"-{row['wheel']}.whl" if "wheel" in row else ".tar.gz"


def _debs(path: Path) -> tuple[list[DebSource], list[Executable]]:
    """The packages of a lock, and the executable that one is unpacked for, if any."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        debs = {
            name: DebSource(
                file=entry["path"].rpartition("/")[2],
                sha256=entry["sha256"],
                size=entry["size"],
                pool_path=entry["path"],
                suite=data["suite"],
                component=data["component"],
            )
            for name, entry in data["packages"].items()
        }
        executables = [
            Executable(
                deb=debs[first["package"]],
                member=first["member"],
                place=first["path"],
                name=first["name"],
                sha256=first["sha256"],
            )
            for first in [data["bootstrap"]]
            if first is not None
        ]
    except FileNotFoundError as error:
        system = path.name.split(".")[1]
        raise InputError(f"the embedded base is not for {system}: {path} is missing") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error
    except KeyError as error:
        raise InputError(f"{path}: {error} is missing") from error
    return list(debs.values()), executables
