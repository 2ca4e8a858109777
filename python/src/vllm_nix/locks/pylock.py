"""Lock files of wheels in the standard format (PEP 751), host-free: file names, sizes and hashes.

A lock holds for one Python and one system, and names one wheel per package by a path relative to
itself, so a folder with the lock and its wheels is all that pip, uv or Nix needs.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.pylock import Package, Pylock, PylockValidationError

from vllm_nix.errors import InputError, Unavailable
from vllm_nix.paths import read_text
from vllm_nix.since_311 import tomllib
from vllm_nix.text import printable


@dataclass(frozen=True, slots=True)
class Wheel:
    """One locked wheel: `file` is its name, `sha256` hexadecimal, `size` in bytes if known."""

    name: str
    version: str
    file: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """The wheels, sorted by name, that make up one set for `python` (``major.minor``).

    `requirements` is the digest of what they were resolved from (`Requirements.digest`).
    """

    python: str
    wheels: tuple[Wheel, ...]
    requirements: str = ""


_FILE = re.compile(r"[\w.+!-]+\.whl", re.ASCII)  # which the store takes, too
_MOST_DOTS = 100  # of a line: tomllib takes seconds for a key of thousands of parts


def read_lock(path: Path) -> Lock:
    """Reads a lock that `format_lock` writes. Raises `InputError`."""
    try:
        text = read_text(path)
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            raise ValueError(f"a line with more than {_MOST_DOTS} dots")
        data = tomllib.loads(text)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such lock; `vllm-nix lock` writes it") from error
    except RecursionError:
        raise InputError(f"{path}: its lists or tables are nested too deep") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {printable(error)}") from error
    try:
        return _lock(Pylock.from_dict(data))
    except (PylockValidationError, ValueError) as error:
        raise InputError(f"{path}: not a lock of `vllm-nix lock`: {printable(error)}") from error


def _lock(standard: Pylock) -> Lock:
    """What is in a valid lock (PEP 751), if it is one of ours. Raises `ValueError`."""
    python = re.fullmatch(r"==(3\.\d{1,2})\.\*", str(standard.requires_python))
    if str(standard.lock_version) != "1.0" or not python:
        raise ValueError("it is not for one Python, or not of version 1.0")
    wheels = tuple(map(_wheel, standard.packages))
    for name, times in Counter(wheel.name for wheel in wheels).items():
        if times > 1:
            raise ValueError(f"{name} is there {times} times")
    tool = (standard.tool or {}).get("vllm-nix")
    digest = tool.get("requirements", "") if isinstance(tool, Mapping) else ""
    return Lock(python[1], wheels, str(digest))


def _wheel(package: Package) -> Wheel:
    name, wheels = package.name, package.wheels or ()
    if package.version is None:
        raise ValueError(f"{name}: its version is missing")
    if len(wheels) != 1:
        raise ValueError(f"{name}: expected one wheel, got {len(wheels)}")
    if package.marker or package.requires_python:  # pip and uv would mind it, and nothing of ours
        raise ValueError(f"{name}: it is for some environments only")
    [wheel] = wheels
    file, sha256 = wheel.path or "", wheel.hashes.get("sha256", "")
    if not _FILE.fullmatch(file) or wheel.filename != file:
        raise ValueError(f"{name}: '{file}' is not a wheel's file name")
    if wheel.url:
        raise ValueError(f"{name}: '{wheel.url}' besides a path")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"{name}: '{sha256}' is not a sha256")
    if wheel.size is not None and not 0 < wheel.size < 1 << 63:  # Nix has no larger integers
        raise ValueError(f"{name}: {wheel.size} is not a size in bytes")
    return Wheel(name, str(package.version), file, sha256, wheel.size)


def format_lock(lock: Lock, system: str) -> str:
    """The text of a lock for a Nix system. Raises `InputError` if the standard does not allow it."""
    try:
        import tomli_w
    except ImportError as error:
        raise Unavailable(
            f"cannot write lock files without {error.name}; pip install tomli-w"
        ) from error
    machine = system.removesuffix("-linux")
    data = {
        "lock-version": "1.0",
        "environments": [f"sys_platform == 'linux' and platform_machine == '{machine}'"],
        "requires-python": f"=={lock.python}.*",
        "created-by": "vllm-nix",
        "tool": {"vllm-nix": {"requirements": lock.requirements}},
        "packages": [_package(wheel) for wheel in lock.wheels],
    }
    try:
        Pylock.from_dict(data)
    except PylockValidationError as error:
        raise InputError(f"the resolved set is not a valid lock (PEP 751): {error}") from error
    return tomli_w.dumps(data)


def _package(wheel: Wheel) -> dict[str, Any]:
    size = {} if wheel.size is None else {"size": wheel.size}
    entry = {"path": wheel.file, **size, "hashes": {"sha256": wheel.sha256}}
    return {"name": wheel.name, "version": wheel.version, "wheels": [entry]}
