"""Removes from an unpacked wheel what nothing uses.

    leave_out.py OUT PATTERN...

A pattern is a path below site-packages in which `*` stands for any part of a name and `**` for any
folders. What it matches goes, a folder with all below it. RECORD and nix-support/elf.json stay true.
"""

import csv
import json
import os
import shutil
import sys
from pathlib import Path


def main() -> None:
    out, *patterns = sys.argv[1:]
    leave_out(Path(out), patterns)


def leave_out(out: Path, patterns: list[str]) -> None:
    [record] = out.glob("lib/python*/site-packages/*.dist-info/RECORD")
    site = record.parents[1]
    # A folder comes before what is in it, which is gone then.
    for path in sorted({path for pattern in patterns for path in site.glob(pattern)}):
        if record.parent in (path, *path.parents) or ".." in path.parts:
            sys.exit(f"{path} is not to be left out of a wheel")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with record.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream) if os.path.lexists(site / row[0])]
    with record.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
    file = out / "nix-support" / "elf.json"
    facts = json.loads(file.read_text())
    needs = [need for need in facts["needs"] if (out / need["file"]).exists()]
    provides = {name: path for name, path in facts["provides"].items() if (out / path).exists()}
    file.write_text(json.dumps({**facts, "needs": needs, "provides": provides}, sort_keys=True))


if __name__ == "__main__":
    main()
