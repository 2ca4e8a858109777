"""What to do about a message: the rows of `fixes.toml`."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MOST = 20_000  # characters of a message that are looked at
_TABLE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class Row:
    """`pattern` is searched for; its groups stand in `fix`."""

    pattern: re.Pattern[str]
    fix: str
    source: str


@cache
def rows() -> tuple[Row, ...]:
    """All of them, the special ones first."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return tuple(
        Row(
            re.compile(row["pattern"] if "pattern" in row else re.escape(row["says"])),
            row["fix"],
            row["source"],
        )
        for row in table["fix"]
    )


def fix_for(message: str, otherwise: str = "") -> str:
    """The fix of the first row that fits a message; `otherwise` if there is none."""
    for row in rows():
        if found := row.pattern.search(message[:MOST]):
            return row.fix.format_map(found.groupdict())
    return otherwise
