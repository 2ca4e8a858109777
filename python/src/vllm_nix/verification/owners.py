"""Which distribution owns which file, as their RECORDs have it."""

import os
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.verification.context import Context
from vllm_nix.verification.distributions import Distribution, Entry, read_record


@dataclass(frozen=True, slots=True)
class Owner:
    """A distribution and what it recorded of one file."""

    distribution: Distribution
    entry: Entry


@dataclass(frozen=True, slots=True)
class Problem:
    """A RECORD, or a line of one, that cannot be followed."""

    distribution: Distribution
    found: str


def owners(context: Context) -> tuple[dict[Path, list[Owner]], list[Problem]]:
    """The owners of every recorded file, and what is wrong with the RECORDs themselves."""
    files: dict[Path, list[Owner]] = {}
    problems: list[Problem] = []
    for distribution in context.distributions:
        try:
            entries = read_record(distribution)
        except (OSError, ValueError) as error:
            problems.append(Problem(distribution, str(error)))
            continue
        for entry in entries or ():
            path = _inside(context, entry.path)
            if path:
                files.setdefault(path, []).append(Owner(distribution, entry))
            elif not context.environment.is_bare:  # there, scripts in bin/ are not at hand
                problems.append(Problem(distribution, f"RECORD leads out: {entry.path!r}"))
    return files, problems


def _inside(context: Context, recorded: str) -> Path | None:
    """Where a recorded path leads, if that is inside the environment (links not followed)."""
    path = os.path.normpath(context.site_packages / recorded)
    inside = "\0" not in path and path.startswith(f"{context.root}{os.sep}")
    return Path(path) if inside else None
