"""Where an environment's packages lie: its site-packages, other folders of its sys.path, and the
sources of what is installed as editable (PEP 660) or by an .egg-link."""

import fnmatch
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from vllm_nix.paths import real
from vllm_nix.store import store_dir
from vllm_nix.verification.environment import Environment, Interpreter, NotRun
from vllm_nix.verification.installed import Distribution, modules, read_distributions
from vllm_nix.verification.meson import planned_files

INSTALLED = ("site-packages", "dist-packages")  # by this name, a folder has nothing but packages


@dataclass(frozen=True, slots=True)
class Packages:
    """`folders` have packages alone, in the order of sys.path. `sources` are, by module, the packages or
    files of distributions that lie elsewhere, which was asked of the environment's own import
    system; `spread` are files of packages that have no folder of their own, by their paths from
    site-packages on; `unfollowed` are editable distributions, by name, of which it was not, with their
    projects."""

    folders: tuple[Path, ...]
    sources: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    unfollowed: Mapping[str, str] = field(default_factory=dict)
    spread: Mapping[str, Path] = field(default_factory=dict)

    def find(self, module: str) -> tuple[Path, ...]:
        """The package of a module, which may be spread, or its file; empty if there is none."""
        files = [(path, place) for path, place in self.spread.items() if _top(path) == module]
        if files:
            folders = (place.parent for path, place in files if path.count("/") == 1)
            return tuple(dict.fromkeys(folders)) or (files[0][1],)
        if module in self.sources:
            return self.sources[module]
        for folder in self.folders:
            if found := [folder / module] if (folder / module).exists() else _files(folder, module):
                return tuple(found)
        return ()

    def glob(self, pattern: str) -> Iterator[Path]:
        """The files that a pattern, relative to site-packages, matches in any of the folders and
        sources."""
        top, _, below = pattern.partition("/")
        for places in self.sources.values():
            for place in places:
                if place.is_dir() and below and place.name == top:
                    yield from sorted(place.glob(below))
                elif not below and fnmatch.fnmatchcase(place.name, top):
                    yield place
        for path, place in sorted(self.spread.items()):
            if path.count("/") == pattern.count("/") and PurePosixPath(path).match(pattern):
                yield place
        for folder in self.folders:
            yield from sorted(folder.glob(pattern))

    def top(self, file: Path) -> str:
        """The first part of a file's path from site-packages on: its package, or its own name."""
        for module, places in self.sources.items():
            for place in places:
                if file == place:
                    return file.name
                if file.is_relative_to(place):
                    return module
        for path, place in self.spread.items():
            if file == place:
                return path.partition("/")[0]
        for folder in self.folders:
            if file.is_relative_to(folder):
                return file.relative_to(folder).parts[0]
        return file.name

    def holds(self, file: Path) -> bool:
        """Whether a file is of any of them, links followed."""
        end = real(file)
        if end in map(real, self.spread.values()):
            return True
        places = [*self.folders, *(place for places in self.sources.values() for place in places)]
        return any(end.is_relative_to(real(place)) for place in places)


def read_packages(
    environment: Environment, interpreter: Interpreter | str
) -> tuple[Packages, tuple[Distribution, ...]]:
    """The packages of an environment, and the distributions that importlib.metadata finds in it."""
    root = environment.root
    if isinstance(interpreter, str):
        folders = _by_name(environment)
        distributions = read_distributions(*folders)
        unfollowed = _editable(distributions) | _linked(distributions, folders, root)
        return Packages(folders, unfollowed=unfollowed), distributions
    own = interpreter.below(root, interpreter.site_packages)
    path = [interpreter.below(root, place) for place in interpreter.path]
    path = path if own in path else [*path, own]
    folders = _different([place for place in path if place == own or place.name in INSTALLED])
    distributions = read_distributions(*_different(path))
    linked = _linked(distributions, folders, root)
    editable = _editable(distributions)
    plans = {one.name: planned_files(one) for one in distributions if one.name in editable}
    asked = {
        found.name: modules(found)
        for found in distributions
        if not plans.get(found.name)
        and (found.editable or found.place not in folders or found.name in linked)
    }
    sources = _find(environment, asked) if asked else {}
    followed = {name for name, wanted in asked.items() if sources.keys() & set(wanted)}
    followed |= {name for name, plan in plans.items() if plan}
    spread = {path: place for plan in plans.values() for path, place in plan.items()}
    elsewhere = linked | editable
    unfollowed = {name: place for name, place in elsewhere.items() if name not in followed}
    outside = _outside(sources, folders, root)
    return Packages(folders, outside, unfollowed, spread), distributions


def _by_name(environment: Environment) -> tuple[Path, ...]:
    """Where the packages of a Python that was not asked lie; Debian's are in three folders."""
    root, release = environment.root, real(environment.python).name
    names = (f"local/lib/{release}", f"lib/{release}", "lib/python3")
    folders = [folder for name in names for folder in sorted((root / name).glob("*-packages"))]
    return _different(folders or [*sorted(root.glob("lib/python3*/*-packages"))[:1], root][:1])


def _top(path: str) -> str:
    """The module of a path from site-packages on."""
    return path.partition("/")[0].partition(".")[0]


def _editable(distributions: Iterable[Distribution]) -> dict[str, str]:
    return {found.name: found.editable for found in distributions if found.editable}


def _different(folders: Sequence[Path]) -> tuple[Path, ...]:
    """By the first name of each real folder: lib64 is often a link to lib."""
    return tuple({os.path.realpath(folder): folder for folder in reversed(folders)}.values())[::-1]


def _files(folder: Path, module: str) -> list[Path]:
    return sorted((*folder.glob(f"{module}.py"), *folder.glob(f"{module}.*so")))


def _find(
    environment: Environment, asked: Mapping[str, Sequence[str]]
) -> dict[str, tuple[Path, ...]]:
    """Asks the environment's import system for modules, whose finders may be of any installer."""
    names = sorted({name for several in asked.values() for name in several})
    try:
        outcome = environment.probe("packages", json.dumps(names))
    except (NotRun, OSError):
        return {}
    found: Any = outcome.answers[0] if outcome.answers else {}
    return {
        name: tuple(map(Path, places))
        for name, places in found.items()
        if name in names and isinstance(places, list) and all(map(_is_place, places))
    }


def _is_place(text: Any) -> bool:
    """Whether it is an absolute path below the root, which nobody would want to walk."""
    return (
        isinstance(text, str)
        and text.startswith("/")
        and "\0" not in text
        and text.strip("/.") != ""
    )


def _outside(
    sources: Mapping[str, tuple[Path, ...]], folders: Sequence[Path], root: Path
) -> dict[str, tuple[Path, ...]]:
    """Those that are not where the folders are searched for them, but for links that lead away."""
    return {
        name: places
        for name, places in sources.items()
        if not all(
            place.parent in folders and not _leads_away(place, folders, root) for place in places
        )
    }


def _linked(
    distributions: Iterable[Distribution], folders: Sequence[Path], root: Path
) -> dict[str, str]:
    """Distributions of which a module is a link to a folder that is not looked into by itself, as flit
    makes them (`--symlink`), with where it leads."""
    away: dict[str, str] = {}
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            links = [Path(entry.path) for entry in entries if entry.is_symlink()]
            away |= {one.name: str(real(one)) for one in links if _leads_away(one, folders, root)}
    return {
        distribution.name: away[name]
        for distribution in (distributions if away else ())
        for name in modules(distribution)
        if name in away
    }


def _leads_away(place: Path, folders: Sequence[Path], root: Path) -> bool:
    if not place.is_symlink():
        return False
    end = f"{os.path.realpath(place)}{os.sep}"
    return not end.startswith(
        tuple(f"{os.path.realpath(one)}{os.sep}" for one in (root, *folders, store_dir()))
    )
