"""The arguments of `verify`, checked: whoever calls it from Python has no argparse before it."""

import os
from collections.abc import Mapping
from typing import Any

from vllm_nix.arguments import check_text, check_texts, wrong
from vllm_nix.errors import InputError

LONGEST = 1_000_000  # seconds, for a limit; the system's own clocks take no infinite one


def check_arguments(
    path: object, texts: Mapping[str, object], ids: Mapping[str, object], limit: Any, progress: Any
) -> None:
    """Checks their types, and the limit's value.

    `texts` are strings or None, `ids` collections of strings. Raises `InputTypeError` or
    `InputError`, which name the argument and what it got.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise wrong("verify: path", "a path", path)
    for name, text in texts.items():
        check_text(f"verify: {name}", text, optional=True)
    for name, wanted in ids.items():
        check_texts(f"verify: {name}", wanted, "a list of check ids")
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        raise wrong("verify: limit", "a number of seconds", limit)
    if not 0 < limit <= LONGEST:
        raise InputError(f"verify: limit: {limit} is not between 0 and {LONGEST} seconds")
    if not callable(progress):
        raise wrong("verify: progress", "a function", progress)
