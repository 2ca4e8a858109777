"""The arguments of `verify`, checked: whoever calls it from Python has no argparse before it."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from vllm_nix.errors import InputError, InputTypeError

LONGEST = 1_000_000  # seconds, for a limit; the system's own clocks take no infinite one


def check_arguments(
    path: object, texts: Mapping[str, object], ids: Mapping[str, object], limit: Any, progress: Any
) -> None:
    """Checks their types, and the limit's value.

    `texts` are strings or None, `ids` collections of strings. Raises `InputTypeError` or
    `InputError`, which name the argument and what it got.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise _wrong("path", "a path", path)
    for name, text in texts.items():
        if not isinstance(text, str | None):
            raise _wrong(name, "a string or None", text)
    for name, wanted in ids.items():
        if isinstance(wanted, (str, bytes)) or not isinstance(wanted, Collection):
            raise _wrong(name, "a list of check ids", wanted)
        for one in wanted:
            if not isinstance(one, str):
                raise _wrong(name, "a list of check ids", one)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        raise _wrong("limit", "a number of seconds", limit)
    if not 0 < limit <= LONGEST:
        raise InputError(f"verify: limit: {limit} is not between 0 and {LONGEST} seconds")
    if not callable(progress):
        raise _wrong("progress", "a function", progress)


def _wrong(name: str, wanted: str, got: object) -> InputTypeError:
    return InputTypeError(f"verify: {name}: expected {wanted}, got {got!r} ({type(got).__name__})")
