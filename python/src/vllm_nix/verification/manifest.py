"""The manifest of a Nix-built environment: what it was made of, as `share/vllm-nix/target.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from packaging.utils import canonicalize_name

from vllm_nix.errors import InputError

PLACE = Path("share/vllm-nix/target.json")
T = TypeVar("T")
_LARGEST = 1 << 24  # bytes; real ones have about 50 kB


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of the environment; `name` is normalised, `path` is its folder in the store."""

    name: str
    version: str
    path: Path


@dataclass(frozen=True, slots=True)
class Manifest:
    """`parameters` are the target's; `driver_libraries` are the sonames that the host provides."""

    target: str
    python: str
    parameters: Mapping[str, Any]
    driver_libraries: frozenset[str]
    wheels: tuple[Wheel, ...]


def read_manifest(root: Path) -> Manifest | None:
    """The manifest of the environment at `root`; None if it has none. Raises `InputError`."""
    file = root / PLACE
    if not file.is_file():
        return None
    try:
        with file.open("rb") as stream:
            text = stream.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise ValueError(f"larger than {_LARGEST} bytes")
        return _manifest(json.loads(text))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: {error}; build the environment again") from error


def lookup(data: Any, *keys: str) -> Any:
    """The value at the end of `keys`; None if there is none. A manifest is not trusted."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def texts(data: Any, *keys: str) -> list[str]:
    """The same of a list of texts; empty if there is none. Raises `InputError` for anything else."""
    found = lookup(data, *keys)
    found = [] if found is None else found
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(f"the manifest's {'.'.join(keys)}: {found!r} is no list of texts")
    return found


def _manifest(data: Any) -> Manifest:
    if _get(data, "schema", int) != 1:
        raise ValueError(f"schema {data['schema']} is not 1, the one that this program knows")
    return Manifest(
        target=_get(data, "target", str),
        python=_get(data, "python", str),
        parameters=_get(data, "parameters", dict),
        driver_libraries=frozenset(_texts(data, "driver-libraries")),
        wheels=tuple(_wheel(wheel) for wheel in _get(data, "wheels", list)),
    )


def _wheel(data: Any) -> Wheel:
    return Wheel(
        canonicalize_name(_get(data, "name", str)),
        _get(data, "version", str),
        Path(_get(data, "path", str)),
    )


def _texts(data: Any, key: str) -> list[str]:
    values = _get(data, key, list)
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"'{key}' is not a list of texts")
    return list(values)


def _get(data: Any, key: str, kind: type[T]) -> T:
    if not isinstance(data, dict) or key not in data:
        raise ValueError(f"there is no '{key}'")
    value = data[key]
    if not isinstance(value, kind):
        raise TypeError(f"'{key}' is {type(value).__name__}, not {kind.__name__}")
    return value
