"""What to do about a message: the rows of `messages/`."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vllm_nix.paths import read_toml

MOST = 20_000  # characters of a message that are looked at
TABLE = Path(__file__).parent / "messages"
# By what they are about, in the order in which they are asked.
PARTS = (
    "libraries",
    "distributions",
    "models",
    "device",
    "processes",
    "compiling",
    "machine",
)


@dataclass(frozen=True, slots=True)
class Row:
    """`pattern` is searched for; its groups stand in `fix`."""

    pattern: re.Pattern[str]
    fix: str
    source: str


@cache
def rows() -> tuple[Row, ...]:
    """All of them, the special ones first."""
    parts = (read_toml(TABLE / f"{part}.toml") for part in PARTS)
    return tuple(
        Row(
            re.compile(row["pattern"] if "pattern" in row else re.escape(row["says"])),
            row["fix"],
            row["source"],
        )
        for part in parts
        for row in part["fix"]
    )


def fix_closed(problem: str, otherwise: str) -> str:
    """The fix for a file or folder that this user may not read, which no installation fixes."""
    opened = "as its owner, chmod -R a+rX it, and a+x the folders above it; or start as its owner"
    return opened if "Permission denied" in problem else otherwise


def fix_for(message: str, otherwise: str = "") -> str:
    """The fix of the first row that fits a message; `otherwise` if there is none. Of a chain of
    exceptions, the first cause that a row fits counts (`probes/errors.py`)."""
    for part in message[:MOST].split("; then "):
        for row in rows():
            if found := row.pattern.search(part):
                return row.fix.format_map(found.groupdict())
    return otherwise
