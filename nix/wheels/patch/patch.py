"""Writes a wheel anew with changed text files, under another version.

    patch.py WHEEL OUT --version VERSION --replacements FILE

FILE is JSON: a list of {"file", "old", "new"}. RECORD stays true.
"""

import argparse
import base64
import csv
import hashlib
import io
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--replacements", type=Path, required=True)
    args = parser.parse_args()
    with zipfile.ZipFile(args.wheel) as old, zipfile.ZipFile(args.out, "w") as new:
        [record] = (name for name in old.namelist() if name.endswith(".dist-info/RECORD"))
        info = record.partition("/")[0]
        texts = replaced(old, json.loads(args.replacements.read_text()), info)
        metadata = old.read(f"{info}/METADATA").decode()
        texts[f"{info}/METADATA"] = re.sub(
            r"(?m)^Version: .*$", f"Version: {args.version}", metadata, count=1
        )
        renamed = f"{info.partition('-')[0]}-{args.version}.dist-info"
        write(old, new, texts, {info: renamed})


def replaced(
    wheel: zipfile.ZipFile, replacements: list[dict[str, str]], info: str
) -> dict[str, str]:
    """The texts of the files that change."""
    release = info.removesuffix(".dist-info").replace("-", " ")
    texts: dict[str, str] = {}
    for each in replacements:
        file, old = each["file"], each["old"]
        try:
            text = texts[file] if file in texts else wheel.read(file).decode()
        except KeyError:
            sys.exit(f"{release}: the wheel has no {file}; what needs it takes a build from source")
        if old not in text:
            sys.exit(f"{release}: {file} has no '{old}'")
        texts[file] = text.replace(old, each["new"])
    return texts


def write(
    old: zipfile.ZipFile,
    new: zipfile.ZipFile,
    texts: dict[str, str],
    renamed: dict[str, str],
) -> None:
    """Copies every file, `texts` instead of the old ones, in folders with their new names."""
    [record] = (f"{folder}/RECORD" for folder in renamed)

    def place(name: str) -> str:
        folder, slash, rest = name.partition("/")
        return renamed.get(folder, folder) + slash + rest

    rows = list(csv.reader(io.StringIO(old.read(record).decode())))
    hashes = {name: row(place(name), text.encode()) for name, text in texts.items()}
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(
        hashes.get(name) or [place(name), *rest] for name, *rest in rows
    )
    for entry in old.infolist():
        copy = zipfile.ZipInfo(place(entry.filename))  # of 1980: no clock in it
        copy.external_attr, copy.compress_type = entry.external_attr, zipfile.ZIP_DEFLATED
        copy.file_size = entry.file_size
        text = lines.getvalue() if entry.filename == record else texts.get(entry.filename)
        if text is not None:
            new.writestr(copy, text.encode())
        else:
            with old.open(entry) as source, new.open(copy, "w") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def row(name: str, data: bytes) -> list[str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return [name, f"sha256={digest.decode()}", str(len(data))]


if __name__ == "__main__":
    main()
