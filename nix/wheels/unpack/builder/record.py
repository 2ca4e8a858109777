"""Keeps RECORD true (https://packaging.python.org/specifications/recording-installed-packages)."""

import base64
import csv
import hashlib
import os
from pathlib import Path


def update(site: Path, changed: list[Path], added: list[Path]) -> None:
    """Enters the new hashes of `changed` files, and `added` files without hash, as installers do."""
    [file] = site.glob("*.dist-info/RECORD")
    with file.open(newline="", encoding="utf-8") as stream:
        rows = {row[0]: row for row in csv.reader(stream)}
    for path in changed:
        name = os.path.relpath(path, site)
        digest = base64.urlsafe_b64encode(_sha256(path)).rstrip(b"=").decode()
        rows[name] = [name, f"sha256={digest}", str(path.stat().st_size)]
    for path in added:
        name = os.path.relpath(path, site)
        rows[name] = [name, "", ""]
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows[name] for name in sorted(rows))


def _sha256(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
