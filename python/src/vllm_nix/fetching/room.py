"""Room on disks: before a fetch, and when a client says that it ran out."""

import shutil
from pathlib import Path

from vllm_nix.errors import Unavailable

FULL = "No space left on device"


def check_room(size: int, *folders: Path) -> None:
    """Raises `Unavailable` unless each folder's disk holds `size` bytes for each of its folders."""
    needs: dict[int, list[Path]] = {}
    for folder in folders:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        needs.setdefault(existing.stat().st_dev, []).append(existing)
    for places in needs.values():
        need, free = size * len(places), shutil.disk_usage(places[0]).free
        if free < need:
            raise Unavailable(
                f"not enough room: {' and '.join(map(str, places))} need {need / 1e6:,.0f} MB, and"
                f" {free / 1e6:,.0f} MB are free; free some, or set XDG_CACHE_HOME to another disk"
            )


def disk_full(folder: Path) -> Unavailable:
    """The error for a disk that became full during a fetch."""
    return Unavailable(
        f"the disk of {folder} is full; free some room, or set XDG_CACHE_HOME to another disk,"
        " and fetch again: what has been fetched stays"
    )
