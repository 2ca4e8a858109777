"""Which distribution has what is missed, as far as the environment itself says."""

import re
from pathlib import Path

from packaging.utils import canonicalize_name

from vllm_nix.text import quoted
from vllm_nix.verification.check import Context
from vllm_nix.verification.opened import requires

_MODULE = re.compile(r"No module named '(\w{1,100})'")


def fix_again(context: Context, file: Path) -> str:
    """The fix for a file that is damaged: what owns it, or what it was compiled by."""
    if owner := context.facts.records().owner(file):
        return f"install {owner.name} again"
    for found in context.distributions:
        project = Path(found.editable or found.place)
        if project not in context.packages.folders and file.is_relative_to(project):
            return f"compile it again: pip install -e {quoted(str(project))}"
    return "install the wheel that owns it again"


def fix_gone(context: Context, name: str) -> str:
    """The fix for a library that an installed distribution has recorded and that is no longer there, or
    no library; "" if none has."""
    for path, owners in context.facts.records().owners.items():
        if path.rpartition("/")[2] == name:
            return f"install {owners[0].distribution.name} again: its {name} is gone or damaged"
    return ""


def fix_module(context: Context, problem: str) -> str:
    """The fix for a module that is not found: of a distribution that is installed and has lost it, or that
    another asks for; "" if none."""
    if not (named := _MODULE.search(problem)):
        return ""
    module = named[1]
    for path, owners in context.facts.records().owners.items():
        owner = owners[0].distribution
        if path.startswith((f"{owner.place}/{module}/", f"{owner.place}/{module}.")):
            return f"install {owner.name} again: its {module} is gone"
    name = canonicalize_name(module)
    asking = asks(context, name)
    return f"pip install {name}, which {asking} asks for" if asking else ""


def asks(context: Context, name: str) -> str:
    """The first distribution that requires another, and not as an extra; "" if none does."""
    for found in context.distributions:
        if any(requires(text, name) and "extra" not in text for text in found.requires):
            return found.name
    return ""
