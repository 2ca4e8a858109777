"""What a check proves, how, and where the pain behind it was seen: its module's own words."""

import inspect
import sys

from vllm_nix.errors import InputError
from vllm_nix.verification.check import Check
from vllm_nix.verification.checks import CHECKS


def find_check(id: str) -> Check:
    """The check of that id. Raises `InputError`."""
    for check in CHECKS:
        if check.id == id:
            return check
    raise InputError(f"unknown check '{id}'; there are: {', '.join(c.id for c in CHECKS)}")


def explain(id: str) -> str:
    """The id and title of a check, and the text of its module. Raises `InputError`."""
    check = find_check(id)
    module = sys.modules[check.run.__module__]
    return f"{check.id}: {check.title}\n\n{inspect.getdoc(module) or ''}"
