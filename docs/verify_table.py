"""Writes the table of checks into docs/verify.md, from the checks themselves.

python -m docs.verify_table
"""

import re
from pathlib import Path

from vllm_nix.verification import CHECKS

PAGE = Path(__file__).parent / "verify.md"
BETWEEN = re.compile("(?<=<!-- checks -->\n).*(?=<!-- /checks -->\n)", re.DOTALL)


def table() -> str:
    """A row for each check, in the order in which they are listed in a report."""
    rows = [f"| `{check.id}` | {check.title} |\n" for check in CHECKS]
    return "".join(("| check | what is good |\n|---|---|\n", *rows))


def page(text: str) -> str:
    """The page with its table written anew."""
    return BETWEEN.sub(lambda _: table(), text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
