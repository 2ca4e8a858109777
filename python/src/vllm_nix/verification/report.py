"""What a verification found: a report of results, a result per check, findings in each.

The JSON form, `"schema": 1`, only ever gains keys:

    {"schema": 1, "environment": "/path", "target": "cpu" or null, "nix": true,
     "devices": ["orin (8.7) with CUDA 12.6"],
     "started": true, "status": "failed", "exit_code": 1, "seconds": 31.2,
     "checks": [{"id": "record", "title": "...", "status": "failed", "reason": "", "seconds": 2.1,
                 "findings": [{"status": "failed", "where": "...", "expected": "...",
                               "found": "...", "cure": "..."}]}]}

`started` is whether the interpreter ran, `exit_code` the command's. A status is "failed", "warning",
"skipped" or "ok"; `reason` says why a check was skipped. Seconds
are until the result was there: checks that share a process, or the processors, wait for each other.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Status(StrEnum):
    """Worst first."""

    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"
    OK = "ok"

    @property
    def rank(self) -> int:
        """0 for the worst; for sorting."""
        return list(Status).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check saw; `cure` is one line that a user can follow."""

    status: Status
    found: str
    where: str = ""
    expected: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One check's findings. `reason` says why it was skipped, and is empty otherwise."""

    id: str
    title: str
    findings: tuple[Finding, ...]
    seconds: float
    reason: str = ""

    @property
    def status(self) -> Status:
        if self.reason:
            return Status.SKIPPED
        return min((finding.status for finding in self.findings), key=lambda status: status.rank)


@dataclass(frozen=True, slots=True)
class Report:
    """All results, in the checks' own order. `started`: whether the interpreter ran at all;
    `devices`: the GPUs that were judged for."""

    environment: Path
    target: str | None
    nix: bool
    started: bool
    results: tuple[Result, ...]
    seconds: float
    devices: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """The worst of the checks that ran."""
        ran = [result.status for result in self.results if not result.reason]
        return min(ran, key=lambda status: status.rank, default=Status.SKIPPED)

    @property
    def exit_code(self) -> int:
        """0 when nothing failed, 1 when something did, 3 when the interpreter does not start, or all
        that was to be checked was skipped: nothing was found good, so that is no success."""
        if not self.started or self.status is Status.SKIPPED:
            return 3
        return int(self.status is Status.FAILED)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data; the module's docstring describes it."""
        return {
            "schema": 1,
            "environment": str(self.environment),
            "target": self.target,
            "nix": self.nix,
            "devices": list(self.devices),
            "started": self.started,
            "status": self.status,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "checks": [
                {
                    "id": result.id,
                    "title": result.title,
                    "status": result.status,
                    "reason": result.reason,
                    "seconds": round(result.seconds, 3),
                    "findings": [asdict(finding) for finding in result.findings],
                }
                for result in self.results
            ],
        }
