"""python -m benchmarks.size [--system SYSTEM] [TARGET...]: prints the tables of docs/size.md.

What each row of nix/wheels/diet.toml leaves out is read from the wheels that the store has. Closures, bundles
and images are those of the environments that are built, of this system's targets or the named ones; nothing is
built for it, and no bundle or image kept.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.environment import PACKAGES
from benchmarks.measure import ROOT, output
from vllm_nix.bundle import write_bundle
from vllm_nix.errors import InputError
from vllm_nix.fetching.sources import this_system
from vllm_nix.locks.pylock import read_lock
from vllm_nix.locks.requirements import load_requirements
from vllm_nix.store import closure, fixed_path, store_name
from vllm_nix.targets import load_target, target_names

UNPACK = ROOT / "nix/wheels/unpack"
sys.path[:0] = [str(UNPACK), str(UNPACK / "builder")]
strip = importlib.import_module("strip").strip

# With what goes where wheels are slim.
ROWS = """
    let
      target = (import ./nix/lib).targets.@;
      diet = import ./nix/wheels/diet.nix (target // { wheels = target.wheels or { } // { slim = { }; }; });
    in builtins.mapAttrs (name: _: diet name) (fromTOML (builtins.readFile ./nix/wheels/diet.toml))
"""
# What an environment is with and without, and where it is. The unfree one is not to be passed on.
FORMS = {
    "whole": "(@.overrideTarget (old: old // { wheels = old.wheels or { } // { diet = false; }; })).vllm-@",
    "without what is unused": "vllm-@",
    "slim": "vllm-@.slim",
    "all slim (unfree)": "vllm-@.slim.unfree",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size")
    parser.add_argument(
        "--system", default=this_system(), help="another, whose programs run here too"
    )
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()
    system = options.system
    here = [name for name in target_names() if load_target(name).builds_on(system)]
    targets = options.targets or here
    print("| wheel | left out | MB |")
    print("|---|---|---|")
    lines = (line for target in targets for line in _lines(target, system))
    for line in dict.fromkeys(lines):
        print(line, flush=True)
    print("\n| target | | download, MB | closure, MB | bundle, MB | image, MB |")
    print("|---|---|---|---|---|---|")
    packages = PACKAGES.replace("debian {", f'debian {{ system = "{system}";')
    for target in targets:
        for form, attribute in FORMS.items():
            expression = f"(let p = {packages}; in with p; {attribute.replace('@', target)})"
            if _is_built(expression):
                print(f"| {target} | {form} | {_sizes(target, system, expression)} |", flush=True)


def _wheels(target: str, system: str) -> Iterator[tuple[str, Path]]:
    try:
        lock = read_lock(load_requirements(target).lock_file(system))
    except InputError:
        return  # a target without a lock for this system
    for wheel in lock.wheels:
        file = fixed_path(store_name(wheel.file), wheel.sha256)
        if file.exists():
            yield wheel.name, file


def _lines(target: str, system: str) -> Iterator[str]:
    rows = json.loads(_nix("--strict", ROWS.replace("@", target)))
    for name, file in _wheels(target, system):
        for row in rows.get(name, ()):
            with zipfile.ZipFile(file) as wheel:
                size = _size(wheel, row)
            below = row.get("capabilities-below")
            where = f", where slim for older ones than {below}" if below else ""
            if size:
                yield f"| {name} | {row['reason']}{where} | {size / 1e6:.1f} |"


def _size(wheel: zipfile.ZipFile, row: dict[str, Any]) -> int:
    members = wheel.infolist()
    size = sum(m.file_size for m in members if _matches(m.filename, row.get("paths", ())))
    for member in members:
        if not member.is_dir() and _matches(member.filename, row.get("symbols", ())):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(wheel.extract(member, folder))
                strip(file)
                size += member.file_size - file.stat().st_size
    return size


def _matches(path: str, patterns: list[str]) -> bool:
    """As leave_out.py's glob finds it or a folder above it; a part of a name for a part."""
    parts = path.split("/")
    heads = [parts[:end] for end in range(1, len(parts) + 1)]
    return any(_is_match(head, pattern.split("/")) for head in heads for pattern in patterns)


def _is_match(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_is_match(parts[skip:], pattern[1:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _is_match(parts[1:], pattern[1:])


def _nix(*words: str) -> str:
    return output("nix-instantiate", "--eval", "--json", *words[:-1], "--expr", words[-1])


def _is_built(expression: str) -> bool:
    """Whether an environment is in the store."""
    try:
        return Path(json.loads(_nix(f"{expression}.outPath"))).exists()
    except subprocess.CalledProcessError:
        return False  # no target for this system, or nothing to slim for


def _sizes(target: str, system: str, expression: str) -> str:
    foreign = ("--option", "extra-platforms", system)
    top = Path(output("nix-build", "--no-out-link", *foreign, "--expr", expression).strip())
    listed = output("nix-store", "--query", "--size", *map(str, closure(top))).split()
    download = sum(file.stat().st_size for _, file in _wheels(target, system))
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(top, Path(folder, "all.tar.zst"))
    sizes = [download, sum(map(int, listed)), bundle.after]
    with suppress(subprocess.CalledProcessError):  # closed libraries, changed, must not be in one
        image = output("nix-build", "--no-out-link", *foreign, "--expr", f"{expression}.image")
        sizes.append(_written(image.strip()))
    return " | ".join(f"{size / 1e6:,.0f}" for size in sizes)


def _written(program: str) -> int:
    with subprocess.Popen([program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout
        size = sum(map(len, iter(partial(run.stdout.read, 1 << 20), b"")))
    if run.returncode:
        raise RuntimeError(f"{program}: exit status {run.returncode}")
    return size


if __name__ == "__main__":
    main()
