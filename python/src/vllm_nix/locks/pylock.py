"""Lock files of wheels in the standard format (PEP 751), host-free: file names, sizes and hashes.

A lock holds for one Python and one system, and names one wheel per package by a path relative to
itself, so a folder with the lock and its wheels is all that pip, uv or Nix needs.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_nix.errors import InputError, Unavailable


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
    """The wheels, sorted by name, that make up one set for `python` (``major.minor``)."""

    python: str
    wheels: tuple[Wheel, ...]


def read_lock(path: Path) -> Lock:
    """Reads a lock that `write_lock`'s format describes. Raises `InputError`."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such lock; `vllm-nix lock` writes it") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}") from error
    try:
        python = re.fullmatch(r"==(\d+\.\d+)\.\*", data["requires-python"])
        if data["lock-version"] != "1.0" or not python:
            raise ValueError("it is not for one Python, or not of version 1.0")
        return Lock(python[1], tuple(_wheel(package) for package in data["packages"]))
    except (KeyError, TypeError, ValueError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: not a lock of `vllm-nix lock`: {text}") from error


def _wheel(package: dict[str, Any]) -> Wheel:
    name = str(package["name"])
    (wheel,) = package["wheels"]
    file, sha256 = wheel["path"], wheel["hashes"]["sha256"]
    if "/" in file or not file.endswith(".whl"):
        raise ValueError(f"{name}: '{file}' is not a wheel's file name")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"{name}: '{sha256}' is not a sha256")
    return Wheel(name, str(package["version"]), file, sha256, wheel.get("size"))


def format_lock(lock: Lock, system: str) -> str:
    """The text of a lock for a Nix system. Raises `InputError` if the standard does not allow it."""
    try:
        import tomli_w
        from packaging.pylock import Pylock, PylockValidationError
    except ImportError as error:
        raise Unavailable(
            f"cannot write lock files without {error.name}; `pip install 'vllm-nix[lock]'` has it"
        ) from error
    machine = system.removesuffix("-linux")
    data = {
        "lock-version": "1.0",
        "environments": [f"sys_platform == 'linux' and platform_machine == '{machine}'"],
        "requires-python": f"=={lock.python}.*",
        "created-by": "vllm-nix",
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
