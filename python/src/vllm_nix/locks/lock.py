"""Writing lock files: resolve, keep one wheel of each package, and drop every address."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from vllm_nix.errors import Error, InputError
from vllm_nix.locks.pylock import Lock, Wheel, format_lock, read_lock
from vllm_nix.locks.requirements import Requirements
from vllm_nix.locks.resolve import resolve
from vllm_nix.paths import write_whole
from vllm_nix.store import fixed_path, store_name

# The names that the oldest manylinux platforms have beside their glibc version (PEP 600), and the
# glibc with which each machine's platforms begin.
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_FIRST = {"x86_64": 5, "aarch64": 17}


@dataclass(frozen=True, slots=True)
class Relock:
    """A lock file as it should be: its whole `text`, and what `old` had."""

    path: Path
    old: Lock | None
    new: Lock
    text: str

    @property
    def is_current(self) -> bool:
        return self.old is not None and self.path.read_text(encoding="utf-8") == self.text

    def changes(self) -> list[str]:
        """One line for every package that comes, goes or changes."""
        old = {wheel.name: wheel for wheel in self.old.wheels} if self.old else {}
        new = {wheel.name: wheel for wheel in self.new.wheels}
        lines = []
        for name in sorted(old.keys() | new.keys()):
            before, after = old.get(name), new.get(name)
            if before is None and after:
                lines.append(f"+ {name} {after.version}")
            elif after is None and before:
                lines.append(f"- {name} {before.version}")
            elif before and after and before.version != after.version:
                lines.append(f"~ {name} {before.version} -> {after.version}")
            elif before and after and before.sha256 != after.sha256:
                lines.append(f"~ {name} {before.file} -> {after.file}")
        return lines

    def write(self) -> None:
        """Replaces the file as a whole. Raises `InputError`."""
        self.path.parent.mkdir(exist_ok=True)
        write_whole("lock file", self.path, self.text.encode("utf-8"))


def relock(
    requirements: Requirements,
    system: str,
    *,
    upgrade: bool = False,
    built: Path | None = None,
) -> Relock:
    """Resolves a set for a system; what is locked already stays, unless `upgrade`.

    What the set builds itself joins the resolution by the metadata of its wheels in the folder
    `built`, and stays out of the lock. Nothing is written. Raises `Error` and its kinds.
    """
    requirements.check_system(system)
    own = built_wheels(requirements, built)
    urls = tuple(f"{name} @ {wheel.as_uri()}" for name, wheel in own.items())
    wanted = replace(requirements, require=(*requirements.require, *urls))
    path = requirements.lock_file(system)
    old = read_lock(path) if path.exists() else None
    packages = resolve(wanted, system, None if upgrade else old)
    kept = {} if upgrade or not old else {wheel.sha256: wheel for wheel in old.wheels}
    sizes = {wheel.sha256: wheel.size for wheel in old.wheels} if old else {}
    ranks = _ranks(requirements, system)
    wheels = [
        _wheel(package, _choose(package, ranks, kept, requirements.name), sizes)
        for package in packages
        if package["name"] not in own
    ]
    sorted_wheels = tuple(sorted(wheels, key=lambda wheel: wheel.name))
    new = Lock(requirements.python, sorted_wheels, requirements.digest)
    return Relock(path, old, new, format_lock(new, system))


def built_wheels(requirements: Requirements, folder: Path | None) -> dict[str, Path]:
    """Package → its wheel in a folder, for each that the set builds. Raises `InputError`."""
    found = {}
    for path in sorted(folder.glob("*.whl")) if folder else ():
        with contextlib.suppress(ValueError):
            found[str(parse_wheel_filename(path.name)[0])] = path.absolute()
    if absent := [name for name in requirements.built if name not in found]:
        raise InputError(
            f"{requirements.name} builds {', '.join(requirements.built)} from source, and a lock"
            f" depends on what they require; {folder or '--built'} lacks {', '.join(absent)}:"
            " nix-build -E 'with import ./nix/debian { overlays = [ (import ./overlays) ]; };"
            f" vllmPackages.{requirements.name}.built' builds that folder"
        )
    return {name: found[name] for name in requirements.built}


def platforms(platform: str, machine: str) -> Iterator[str]:
    """The platform tags that a system with this manylinux platform accepts, best first (PEP 600).

    `platform` is such as ``manylinux_2_28``; `machine` is ``x86_64`` or ``aarch64``.
    """
    for minor in range(int(platform.rpartition("_")[2]), _FIRST[machine] - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{machine}"
    yield f"linux_{machine}"


def _ranks(requirements: Requirements, system: str) -> dict[Tag, int]:
    """How far down the list of supported tags each tag is: 0 is the best."""
    major, _, minor = requirements.python.partition(".")
    version, interpreter = (int(major), int(minor)), f"cp{major}{minor}"
    names = list(platforms(requirements.platform, system.removesuffix("-linux")))
    tags = [
        *cpython_tags(version, abis=[interpreter], platforms=names),
        *compatible_tags(version, interpreter=interpreter, platforms=names),
    ]
    return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}


def _choose(
    package: Mapping[str, Any],
    ranks: Mapping[Tag, int],
    kept: Mapping[str, Wheel],
    place: str,
) -> Mapping[str, Any]:
    """The wheel that was locked before, else the one with the best tag."""
    wheels: Iterable[Mapping[str, Any]] = package.get("wheels", ())
    ranked = []
    for wheel in wheels:
        if wheel["hashes"].get("sha256") in kept:
            return wheel
        with contextlib.suppress(ValueError):
            _, _, build, tags = parse_wheel_filename(_file(wheel))
            if fitting := [ranks[tag] for tag in tags if tag in ranks]:
                ranked.append((-min(fitting), build, _file(wheel), wheel))
    if not ranked:
        raise Error(
            f"cannot lock {place}: {package['name']} {package.get('version', '')} has no wheel for"
            " this Python and platform; pin a release that has one in [wheels] override"
        )
    return max(ranked, key=lambda entry: entry[:3])[3]


def _file(wheel: Mapping[str, Any]) -> str:
    address = wheel.get("url") or wheel["path"]
    return str(wheel.get("name") or unquote(urlparse(address).path).rpartition("/")[2])


def _wheel(
    package: Mapping[str, Any], wheel: Mapping[str, Any], sizes: Mapping[str, int | None]
) -> Wheel:
    file, sha256 = _file(wheel), wheel["hashes"]["sha256"]
    size = wheel.get("size") or sizes.get(sha256) or _local_size(wheel, file, sha256)
    return Wheel(package["name"], package["version"], file, sha256, size)


def _local_size(wheel: Mapping[str, Any], file: str, sha256: str) -> int | None:
    """The size by the file itself, if it is here: not every index has sizes."""
    url = urlparse(wheel.get("url", ""))
    local = Path(unquote(url.path)) if url.scheme == "file" else None
    for path in (local, fixed_path(store_name(file), sha256)):
        # A build that failed for want of the file leaves an empty one in its place.
        if path and path.is_file() and (size := path.stat().st_size):
            return size
    return None
