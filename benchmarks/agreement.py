"""Holds what `vllm-nix archs` reads against NVIDIA's cuobjdump, on large public libraries.

python -m benchmarks.agreement [REQUIREMENT...]    prints a table; fails where the two differ

Compared are all entries, in their order: kind, architecture with its suffix, version (of PTX: its
ISA), whether it is compressed. No cuobjdump reads all files, so several are tried; what it doesn't
look at, code in other sections, is left out. The pins are in agreement.toml.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.wheels import Wheel, unpack
from vllm_nix.gpu import fatbin

Entry = tuple[str, str, str, bool]

_KINDS = {"elf": "cubin", "ptx": "ptx"}


def main() -> None:
    pins = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    wheels = [Wheel(**pin) for pin in pins["wheels"]]
    names = sys.argv[1:] or [wheel.requirement for wheel in wheels]
    unknown = set(names) - {wheel.requirement for wheel in wheels}
    if unknown:
        sys.exit(f"'{min(unknown)}' is not in agreement.toml")
    differ = 0
    with tempfile.TemporaryDirectory() as name:
        tools = [
            unpack(Wheel(**pin), Path(name) / str(number), "cuobjdump")[0]
            for number, pin in enumerate(pins["tools"])
        ]
        print("| wheel | library | MB | entries | cuobjdump | |")
        print("|---|---|---|---|---|---|")
        for wheel in wheels:
            if wheel.requirement not in names:
                continue
            with tempfile.TemporaryDirectory() as folder:
                for row, is_same in _rows(wheel, unpack(wheel, Path(folder)), tools):
                    print(row, flush=True)
                    differ += not is_same
    if differ:
        sys.exit(f"{differ} libraries differ")


def _rows(
    wheel: Wheel, libraries: Iterable[Path], tools: Sequence[Path]
) -> Iterator[tuple[str, bool]]:
    for path in sorted(libraries):
        ours = _ours(path)
        if not ours:
            continue
        version, theirs = _theirs(path, tools)
        is_same = ours == theirs
        cells = (
            f"{wheel.requirement} ({wheel.machine})",
            path.name,
            f"{path.stat().st_size / 1e6:.0f}",
            str(len(ours)),
            version,
            "same" if is_same else f"differs: {_difference(ours, theirs)}",
        )
        yield f"| {' | '.join(cells)} |", is_same


def _ours(path: Path) -> list[Entry]:
    found = fatbin.read(path)
    if found.damage:
        raise RuntimeError(f"{path}: {found.damage[0]}")
    return [
        (
            entry.kind,
            entry.capability.sm,
            "{}.{}".format(*entry.version),
            bool(entry.compression),
        )
        for section in (fatbin.HOST, fatbin.RELOCATABLE)
        for one in found.fatbins
        if one.section == section
        for entry in one.entries
        if entry.kind in _KINDS.values()
    ]


def _theirs(path: Path, tools: Sequence[Path]) -> tuple[str, list[Entry]]:
    """The version of the first tool that reads the whole file, and what it says."""
    for tool in tools:
        # It lists what it can before it gives up on a file, so its exit status matters.
        done = subprocess.run([tool, "-all", path], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return _version(tool), list(_entries(done.stdout))
    return "none reads it", []


def _entries(text: str) -> Iterator[Entry]:
    for part in re.split(r"^Fatbin ", text, flags=re.MULTILINE)[1:]:
        kind = _KINDS.get(part.split()[0])
        arch = re.search(r"^arch = (\S+)", part, re.MULTILINE)
        version = re.search(r"^code version = \[(\d+),(\d+)\]", part, re.MULTILINE)
        if kind and arch and version:
            compressed = bool(re.search(r"^compressed", part, re.MULTILINE))
            yield kind, arch[1], ".".join(version.groups()), compressed


def _version(tool: Path) -> str:
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"V(\d+\.\d+)", done.stdout)
    return found[1] if found else "?"


def _difference(ours: Sequence[Entry], theirs: Sequence[Entry]) -> str:
    pairs = zip(ours, theirs, strict=False)
    first = next((number for number, (a, b) in enumerate(pairs) if a != b), None)
    if first is None:
        return f"{len(ours)} entries, {len(theirs)} in theirs"
    return f"entry {first}: {ours[first]}, not {theirs[first]}"


if __name__ == "__main__":
    main()
