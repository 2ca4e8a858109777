"""Nix derivations: what a package of the flake is built from, and what of it can be built by now."""

import ast
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.process import ask
from vllm_nix.store import missing_paths

FLAKES = ("--extra-experimental-features", "nix-command flakes")


@dataclass(frozen=True, slots=True)
class Derivation:
    """`fetched`: it is a file with a known hash that nothing makes, which on the embedded base only
    `fetch` adds."""

    path: Path
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    fetched: bool


def read_derivation(path: Path) -> Derivation:
    """Reads a ``.drv`` file of the store: a term whose lists and strings are as in Python.

    Nix manual, "Derivation ATerm Format". Raises `InputError`.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        outputs, inputs, *_ = ast.literal_eval(text.removeprefix("Derive"))
        return Derivation(
            path,
            tuple(Path(name) for name, _ in inputs),
            tuple(Path(output) for _, output, _, _ in outputs),
            not inputs and any(digest for _, _, _, digest in outputs),
        )
    except (OSError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(f"{path} is not a derivation that can be read: {error}") from error


def closure(top: Path) -> dict[Path, Derivation]:
    """A derivation and all that it is built from. Raises `InputError`."""
    found: dict[Path, Derivation] = {}
    waiting = [top]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = read_derivation(path)
            waiting += found[path].inputs
    return found


def buildable(derivations: Mapping[Path, Derivation], present: Collection[Path]) -> list[Path]:
    """What can be built from fetched files alone and is not there, without what others of it need.

    `present` are the outputs that the store has.
    """
    known: dict[Path, bool] = {}
    built = {
        path
        for path, each in derivations.items()
        if all(output in present for output in each.outputs)
    }

    def can(path: Path) -> bool:
        if path not in known:
            each = derivations[path]
            known[path] = path in built or (not each.fetched and all(map(can, each.inputs)))
        return known[path]

    found = {path for path in derivations if can(path)} - built
    needed = {one for path in found for one in derivations[path].inputs}
    return sorted(found - needed)


def present_outputs(derivations: Mapping[Path, Derivation]) -> set[Path]:
    """The outputs that the store has. Raises `Unavailable` without Nix."""
    outputs = {output for each in derivations.values() for output in each.outputs}
    return outputs - missing_paths(outputs)


def instantiate(package: str, options: Sequence[str] = ()) -> Path:
    """The derivation of a flake's package, such as ``.#vllm-cpu``. Raises `Error`."""
    program = shutil.which("nix")
    if not program:
        raise Unavailable("nix is not on PATH; `make setup` installs Nix")
    result = ask([program, *FLAKES, "path-info", "--derivation", package, *options])
    words = result.stdout.split()
    if result.status or len(words) != 1:
        reason = [line for line in result.stderr.splitlines() if line.startswith("error")]
        raise Error(f"{package} does not evaluate: {' '.join(reason) or result.last_words()}")
    return Path(words[0])
