"""What a lock resolves: a target's wheels, or those of the embedded base."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vllm_nix.data import DEBIAN
from vllm_nix.data import TARGETS as TARGET_FILES
from vllm_nix.errors import InputError
from vllm_nix.locks.pylock import Lock
from vllm_nix.paths import read_toml
from vllm_nix.targets import Target, load_target, target_names

DEBIAN_SETS = {
    "debian": DEBIAN / "python",
    "debian-cuda": DEBIAN / "cuda",
    "debian-cuda12": DEBIAN / "cuda12",
    "debian-cuda12-libraries": DEBIAN / "cuda12/libraries",
    "debian-docs": DEBIAN / "docs",
}


@dataclass(frozen=True, slots=True)
class Requirements:
    """The requirements of one set of wheels; its locks lie in `folder`, one for each system."""

    name: str
    folder: Path
    python: str
    systems: tuple[str, ...]
    require: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    override: tuple[str, ...] = ()
    platform: str = "manylinux_2_28"
    before: str = ""  # an ISO date: files published later are not there
    index: Mapping[str, Mapping[str, Any]] | None = None  # `url` and `systems`, by package
    built: Mapping[str, str] = field(
        default_factory=dict
    )  # here, and so in no lock: name → version
    has_debs: bool = False  # whether Debian packages are locked beside the wheels

    def lock_file(self, system: str) -> Path:
        return self.folder / f"pylock.{system}.toml"

    @property
    def digest(self) -> str:
        """Of all that a lock depends on but the system, as the lock carries it.

        `nix/lib/lock-digest.nix` makes the same string of a target.
        """
        parts = {
            "python": self.python,
            "require": sorted(self.require),
            "made": sorted(f"{name}=={version}" for name, version in self.built.items()),
            "exclude": sorted(self.exclude),
            "override": sorted(self.override),
            "platform": self.platform,
            "before": self.before,
            "index": dict(self.index or {}),
        }
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def indexes_for(self, system: str) -> dict[str, str]:
        """The addresses of the set's own indexes for a system, by the packages that they have."""
        rows = (self.index or {}).items()
        return {name: row["url"] for name, row in rows if system in row["systems"]}

    def check_current(self, lock: Lock, place: object) -> None:
        """Raises `InputError`, which calls the lock `place`, if it is older than its set."""
        if lock.requirements != self.digest:
            raise InputError(
                f"{place} was resolved from other requirements than {self.name} has;"
                f" run: vllm-nix lock {self.name}"
            )

    def check_system(self, system: str) -> None:
        """Raises `InputError` unless the set is for this Nix system."""
        if system not in self.systems:
            raise InputError(
                f"{self.name} is not for {system}; it is for {', '.join(self.systems)}"
            )


def load_requirements(name: str) -> Requirements:
    """The requirements of a target, or of a part of the embedded base. Raises `InputError`."""
    if folder := DEBIAN_SETS.get(name):
        return _debian(name, folder)
    if name not in target_names():
        known = ", ".join((*target_names(), *DEBIAN_SETS))
        raise InputError(f"unknown set '{name}'; there are: {known}")
    return target_requirements(load_target(name))


def target_requirements(target: Target) -> Requirements:
    """What the locks of a target resolve."""
    return _requirements(
        target.name,
        TARGET_FILES / target.name,
        target.python,
        target.systems,
        target.requirements(),
        target.data.get("wheels", {}),
        {name: target.release(name) for name in target.components()},
    )


def _debian(name: str, folder: Path) -> Requirements:
    path = folder / "requirements.toml"
    try:
        data = read_toml(path)
        wheels = data["wheels"]
        requirements = _requirements(
            name, folder, data["python"], data["systems"], wheels["require"], wheels
        )
        return replace(requirements, has_debs="debs" in data)
    except KeyError as error:
        raise InputError(f"{path}: {error} is missing") from error


def _requirements(
    name: str,
    folder: Path,
    python: str,
    systems: Any,
    require: Any,
    wheels: Mapping[str, Any],
    built: Mapping[str, str] | None = None,
) -> Requirements:
    return Requirements(
        name,
        folder,
        python,
        tuple(systems),
        tuple(require),
        tuple(wheels.get("exclude", ())),
        tuple(wheels.get("override", ())),
        wheels.get("platform", "manylinux_2_28"),
        wheels.get("before", ""),
        wheels.get("index"),
        built or {},
    )
