"""Times two commands in turn, so that a machine that slows down slows both."""

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NIX = (
    *("--option", "experimental-features", "nix-command flakes"),
    *("--option", "substituters", ""),
)
SANDBOX = (
    *("--option", "sandbox", "true", "--option", "sandbox-fallback", "false"),
    *("--max-jobs", "auto"),
)

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Row:
    """One line of the table: medians in seconds."""

    what: str
    ours: float
    other: str
    theirs: float

    def __str__(self) -> str:
        ratio = self.theirs / self.ours
        return (
            f"| {self.what} | {self.ours:.2f} s | {self.other} | {self.theirs:.2f} s "
            f"| {ratio:.{1 if ratio >= 1 else 2}f} |"
        )


def seconds(command: Command) -> float:
    """The wall time of one run. A command that fails is an error, not a time."""
    started = time.perf_counter()
    result = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    taken = time.perf_counter() - started
    if result.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {result.stderr[-2000:]}")
    return taken


def output(*command: str) -> str:
    """What one of Nix's programs prints."""
    words = [command[0], *NIX, *SANDBOX, *command[1:]]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def compare(
    what: str,
    ours: Callable[[], float],
    other: str,
    theirs: Callable[[], float],
    runs: int = 3,
) -> Row:
    """The medians of `runs` runs of each, alternating."""
    pairs = [(ours(), theirs()) for _ in range(runs)]
    return Row(
        what,
        statistics.median(pair[0] for pair in pairs),
        other,
        statistics.median(pair[1] for pair in pairs),
    )
