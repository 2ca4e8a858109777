"""Folders of the user's, as they write them."""

import os
from pathlib import Path

from vllm_nix.errors import InputError


def expand(path: str | Path) -> Path:
    """`path` with a leading ``~`` or ``~name`` as the home that it stands for. Raises `InputError`."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # no such user, or one without a home
        raise InputError(f"{path}: no home folder is known for {Path(path).parts[0]}") from error


def cache_folder() -> Path:
    """`vllm-nix` in the user's folder for caches (XDG Base Directory Specification).

    Raises `InputError` if there is none.
    """
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "vllm-nix"
    try:
        return Path.home() / ".cache" / "vllm-nix"
    except RuntimeError as error:
        raise InputError("no home folder is known: set HOME or XDG_CACHE_HOME") from error
