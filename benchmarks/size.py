"""python -m benchmarks.size [TARGET...]: prints the tables of docs/size.md.

What each row of nix/wheels/diet.toml leaves out is read from the tables of the wheels that the store has;
the closure and the bundle are of environments that are built.
"""

import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks.environment import _output
from benchmarks.measure import ROOT
from vllm_nix.bundle import write_bundle
from vllm_nix.fetching.sources import this_system
from vllm_nix.locks.pylock import read_lock
from vllm_nix.locks.requirements import load_requirements
from vllm_nix.store import closure, fixed_path, store_name

TARGETS = ("cpu",)
DIET = tomllib.loads((ROOT / "nix/wheels/diet.toml").read_text())
PACKAGES = "(import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages"


def main() -> None:
    targets = sys.argv[1:] or TARGETS
    print("| wheel | left out | why | MB |")
    print("|---|---|---|---|")
    lines = [line for target in targets for line in _lines(target)]
    print("\n".join(dict.fromkeys(lines)))
    print("\n| target | download, MB | closure, MB | bundle, MB |")
    print("|---|---|---|---|")
    for target in targets:
        print(_sizes(target), flush=True)


def _wheels(target: str) -> Iterator[tuple[str, Path]]:
    lock = read_lock(load_requirements(target).lock_file(this_system()))
    for wheel in lock.wheels:
        yield wheel.name, fixed_path(store_name(wheel.file), wheel.sha256)


def _lines(target: str) -> Iterator[str]:
    for name, file in _wheels(target):
        if name in DIET and file.exists():
            with zipfile.ZipFile(file) as wheel:
                members = wheel.infolist()
            for row in DIET[name]:
                sizes = [m.file_size for m in members if _matches(m.filename, row["paths"])]
                if sizes:
                    paths = ", ".join(f"`{path}`" for path in row["paths"])
                    yield f"| {name} | {paths} | {row['reason']} | {sum(sizes) / 1e6:.1f} |"


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


def _sizes(target: str) -> str:
    download = sum(file.stat().st_size for _, file in _wheels(target) if file.exists())
    built = _output("nix-build", "--no-out-link", "--expr", f"{PACKAGES}.vllm-{target}").strip()
    paths = closure(Path(built))
    listed = _output("nix-store", "--query", "--size", *map(str, paths)).split()
    with tempfile.TemporaryDirectory() as folder:
        done = write_bundle(Path(built), Path(folder, "all.tar.zst"))
    sizes = (download, sum(map(int, listed)), done.after)
    return f"| {target} | " + " | ".join(f"{size / 1e6:,.0f}" for size in sizes) + " |"


if __name__ == "__main__":
    main()
