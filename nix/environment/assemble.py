"""Assembles wheels into one environment, a tree of links with the shape of a virtual environment.

    assemble.py MANIFEST OUT --python PROGRAM --launcher FILE --placeholders FILE

MANIFEST becomes OUT/share/vllm-nix/target.json; its "wheels" name the folders to assemble.
"""

import argparse
import email
import filecmp
import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Owner = dict[str, Path]  # wheel name → its folder or file


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--launcher", type=Path, required=True)
    parser.add_argument("--placeholders", type=Path, required=True)
    args = parser.parse_args()
    manifest = json.loads(args.manifest.read_text())
    wheels = {wheel["name"]: Path(wheel["path"]) for wheel in manifest["wheels"]}
    facts = {
        name: json.loads((path / "nix-support" / "elf.json").read_text())
        for name, path in wheels.items()
    }

    optional = manifest["parameters"].get("wheels", {}).get("optional-libraries", {})
    faults = [
        *placeholders(wheels, tomllib.loads(args.placeholders.read_text())),
        *unresolved(facts, {*manifest["driver-libraries"], *optional}),
    ]
    if faults:
        sys.exit("\n".join(faults))
    real = {
        str(parent)
        for elf in facts.values()
        for library in [
            *elf["provides"].values(),
            *(need["file"] for need in elf["needs"]),
        ]
        for parent in Path(library).parents
    }
    collisions: list[str] = []
    merge("", wheels, args.out, real, collisions)
    if collisions:
        sys.exit("\n".join(collisions))
    scripts(wheels, args.out, args.python, args.launcher)
    (args.out / "pyvenv.cfg").write_text(
        f"home = {args.python.parent}\ninclude-system-site-packages = false\n"
    )
    share = args.out / "share" / "vllm-nix"
    share.mkdir(parents=True)
    shutil.copyfile(args.manifest, share / "target.json")


def placeholders(wheels: Owner, rule: dict[str, Any]) -> Iterator[str]:
    """A sentence per wheel that only says to get the real one elsewhere (placeholders.toml)."""
    sign = re.compile("|".join(map(re.escape, rule["words"])), re.IGNORECASE)
    for name, folder in sorted(wheels.items()):
        [metadata] = folder.glob("lib/python*/site-packages/*.dist-info/METADATA")
        text = metadata.read_text(encoding="utf-8", errors="replace")
        message = email.message_from_string(text)
        description = str(message["Description"] or message.get_payload()).strip()
        first = re.split(r"\n\s*\n", description)[0]
        lines = [str(message["Summary"] or ""), *first.splitlines()]
        said = next((line.strip() for line in lines if sign.search(line)), None)
        if said and sum(file.stat().st_size for file in folder.rglob("*.*")) < rule["largest"]:
            yield f"{name} is a placeholder for a package that is kept elsewhere: {said}"


def unresolved(facts: dict[str, Any], others: set[str]) -> list[str]:
    """A sentence per library that is neither in a wheel nor among `others`.

    Which wheel has it does not matter: torch and others load libraries beforehand by full path,
    and the loader then takes a library that is loaded already by its name.
    """
    known = {library for elf in facts.values() for library in elf["provides"]} | others
    return [
        f"{wheel}: {need['file']} needs {need['needed']}, which is in no wheel, not in the base "
        "and in neither driver.libraries nor wheels.optional-libraries of the target"
        for wheel, elf in sorted(facts.items())
        for need in elf["needs"]
        if need["needed"] not in known
    ]


def merge(folder: str, owners: Owner, out: Path, real: set[str], collisions: list[str]) -> None:
    """Merges the wheels' folders called `folder` (relative, "" at the top) into `out`.

    A folder that one wheel owns is one link, unless a library lies below: `$ORIGIN` follows the
    path by which a library was opened, so its folder must be a real one, beside the other wheels'.
    """
    (out / folder).mkdir(exist_ok=True)
    for name, claims in entries(owners):
        here = f"{folder}/{name}".lstrip("/")
        if here in ("bin", "nix-support"):
            continue
        folders = {wheel: path for wheel, path in claims.items() if path.is_dir()}
        if folders and len(folders) < len(claims):
            collisions.append(f"{here}: a folder in one wheel, a file in another: {names(claims)}")
        elif folders and (len(folders) > 1 or here in real or not folder):
            merge(here, folders, out, real, collisions)
        else:
            first, *others = claims.values()
            if all(filecmp.cmp(first, other, shallow=False) for other in others):
                (out / here).symlink_to(first)
            else:
                collisions.append(f"{here}: two wheels own this file and differ: {names(claims)}")


def entries(owners: Owner) -> Iterator[tuple[str, Owner]]:
    found: dict[str, Owner] = {}
    for wheel, folder in owners.items():
        for entry in os.scandir(folder):
            found.setdefault(entry.name, {})[wheel] = Path(entry.path)
    return iter(sorted(found.items()))


def names(claims: Owner) -> str:
    return " and ".join(sorted(claims))


def scripts(wheels: Owner, out: Path, python: Path, launcher: Path) -> None:
    """The launcher as bin/python, and the wheels' programs, started by it."""
    target = out / "bin"
    target.mkdir()
    own = target / python.name
    own.write_text(launcher.read_text().replace("@out@", str(out)))
    own.chmod(0o555)
    for alias in ("python", "python3"):
        (target / alias).symlink_to(own.name)
    for name, claims in entries(
        {wheel: path / "bin" for wheel, path in wheels.items() if (path / "bin").is_dir()}
    ):
        _wheel, program = next(iter(claims.items()))
        if len(claims) > 1:
            sys.exit(f"bin/{name}: two wheels own this program: {names(claims)}")
        start, _, rest = program.read_bytes().partition(b"\n")
        if start.startswith(b"#!") and b"python" in start:
            (target / name).write_bytes(b"#!" + str(own).encode() + b"\n" + rest)
            (target / name).chmod(0o555)
        else:
            (target / name).symlink_to(program)


if __name__ == "__main__":
    main()
