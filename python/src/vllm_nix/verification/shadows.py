"""What goes before an environment's packages when its user starts it: the folders of PYTHONPATH, which
verify does not look at, and the user's own site-packages (site, USER_SITE), which it does."""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from vllm_nix.paths import real
from vllm_nix.text import some
from vllm_nix.verification.check import Context, Finding, failed, warning
from vllm_nix.verification.environment import Interpreter
from vllm_nix.verification.known import EVERY_START
from vllm_nix.verification.packages import Packages

MOST = 5_000  # entries of a folder
SHOWN = 6
# What projects have at their top, and some wheels leave in site-packages.
MEANINGLESS = frozenset(("benchmarks", "docs", "examples", "scripts", "setup", "test", "tests"))


def shadows(context: Context, python: Interpreter) -> Iterator[Finding]:
    """Findings for folders that hide packages of the environment. A Nix build's launcher lets none in."""
    if context.manifest:
        return
    if home := os.environ.get("PYTHONHOME"):
        yield failed(
            "with PYTHONHOME, this Python takes its own modules from another folder, or does not start",
            where=home,
            expected="its own, with which it was started here",
            fix="unset PYTHONHOME",
        )
    for folder in map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))):
        yield from _of_the_shell(context, folder)
    places = (python.user_site, python.site_packages)  # a virtual environment's own go first
    first = next((place for place in python.path if place in places), None)
    if python.user_site and first == python.user_site:
        # Debian's own packages, in other folders, are meant to be hidden by newer ones.
        own = replace(context.packages, folders=(python.site_packages,))
        if hidden := _hidden(own, python.user_site):
            yield warning(
                f"the user's site-packages hide the environment's own {some(hidden, SHOWN)}",
                where=str(python.user_site),
                fix="export PYTHONNOUSERSITE=1, or pip uninstall them, which takes the user's first",
            )


def _of_the_shell(context: Context, folder: Path) -> Iterator[Finding]:
    if hidden := _hidden(context.packages, folder):
        report = failed if hidden[0] in EVERY_START else warning
        yield report(
            f"before the environment come the folders of PYTHONPATH, which hide its {some(hidden, SHOWN)}",
            where=str(folder),
            expected="the environment's own, which is what is looked at here",
            fix="unset PYTHONPATH, or take that folder out of it",
        )
    there = [name for name in ("torch", "vllm") if (folder / name / "__init__.py").exists()]
    if unseen := [name for name in there if not context.packages.find(name)]:
        yield warning(
            f"{' and '.join(unseen)} of PYTHONPATH: not looked at",
            where=str(folder),
            fix=f"look at that folder by itself: vllm-nix verify {folder}",
        )


def _module(entry: os.DirEntry[str]) -> str:
    """The module that an entry of a folder is, "" if none: a folder without code hides nothing (PEP 420)."""
    name, _, rest = entry.name.partition(".")
    if rest:
        return name if rest == "py" or rest.endswith("so") else ""
    return name if Path(entry.path, "__init__.py").exists() else ""


def _hidden(packages: Packages, folder: Path) -> list[str]:
    """The modules of `packages` that a folder has as well, those of every start first."""
    try:
        with os.scandir(folder) as entries:
            names = sorted({_module(one) for one in islice(entries, MOST)} - {""} - MEANINGLESS)
    except OSError:
        return []
    own = {name: packages.find(name) for name in names}
    hidden = [
        name
        for name, places in own.items()
        if places and all(real(place).parent != real(folder) for place in places)
    ]
    return sorted(hidden, key=lambda name: name not in EVERY_START)
