"""What goes before an environment's packages when its user starts it, and not when verify does: the
folders of PYTHONPATH and the user's own site-packages (site, USER_SITE)."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from vllm_nix.errors import InputError
from vllm_nix.paths import expand, real
from vllm_nix.text import some
from vllm_nix.verification.check import Context, Finding, failed, warning
from vllm_nix.verification.environment import Interpreter
from vllm_nix.verification.known import EVERY_START

MOST = 5_000  # entries of a folder
SHOWN = 6
# What projects have at their top, and some wheels leave in site-packages.
MEANINGLESS = frozenset(("benchmarks", "docs", "examples", "scripts", "setup", "test", "tests"))


def shadows(context: Context, python: Interpreter) -> Iterator[Finding]:
    """Findings for folders that hide packages of the environment. A Nix build's launcher lets none in."""
    if context.manifest:
        return
    for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if folder:
            how = "unset PYTHONPATH, or take that folder out of it"
            yield from _hidden(context, Path(folder), "the folders of PYTHONPATH", how)
    users = _user_site(context, python)
    if users and not os.environ.get("PYTHONNOUSERSITE"):
        how = f"export PYTHONNOUSERSITE=1, or uninstall them there; what lies there: verify {users}"
        yield from _hidden(context, users, "the user's site-packages", how)
        there = [name for name in ("torch", "vllm") if (users / name).is_dir()]
        if unseen := [name for name in there if not context.packages.find(name)]:
            yield warning(
                f"{' and '.join(unseen)} of the user's site-packages: not looked at",
                where=str(users),
                fix=f"look at what pip install --user has put there by itself: vllm-nix verify {users}",
            )


def _user_site(context: Context, python: Interpreter) -> Path | None:
    """Where `pip install --user` puts packages; a virtual environment's own go before them."""
    if _is_virtual(context.root):
        return None
    release = ".".join(python.version.split(".")[:2])
    try:
        base = expand(os.environ.get("PYTHONUSERBASE") or "~/.local")
    except InputError:
        return None
    return base / "lib" / f"python{release}" / "site-packages"


def _is_virtual(root: Path) -> bool:
    return (root / "pyvenv.cfg").exists()


def _module(entry: os.DirEntry[str]) -> str:
    """The module that an entry of a folder is, "" if none: a folder without code hides nothing (PEP 420)."""
    name, _, rest = entry.name.partition(".")
    if rest:
        return name if rest == "py" or rest.endswith("so") else ""
    return name if Path(entry.path, "__init__.py").exists() else ""


def _hidden(context: Context, folder: Path, what: str, how: str) -> Iterator[Finding]:
    try:
        with os.scandir(folder) as entries:
            names = sorted({_module(one) for one in islice(entries, MOST)} - {""} - MEANINGLESS)
    except OSError:
        return
    own = {name: context.packages.find(name) for name in names}
    hidden = [
        name
        for name, places in own.items()
        if places and all(real(place).parent != real(folder) for place in places)
    ]
    if not hidden:
        return
    hidden.sort(key=lambda name: name not in EVERY_START)
    report = failed if hidden[0] in EVERY_START else warning
    yield report(
        f"before the environment come {what}, which hide its {some(hidden, SHOWN)}",
        where=str(folder),
        expected="the environment's own, which is what is looked at here",
        fix=how,
    )
