"""The files of an environment that may be libraries."""

import os
from collections.abc import Iterator
from pathlib import Path

from vllm_nix.gpu.inventory import TEXT


def binaries(folder: Path) -> Iterator[Path]:
    """Files below a folder, links followed; each real folder once, for links may form a ring."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            file = Path(parent, name)
            if file.suffix not in TEXT:
                yield file
