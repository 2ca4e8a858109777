"""What a verification found: a report of results, a result per check, findings in each.

The JSON form, `"schema": 1`, only ever gains keys:

    {"schema": 1, "environment": "/path", "target": "cpu" or null, "nix": true,
     "devices": ["orin (8.7) with CUDA 12.6"],
     "started": true, "status": "failed", "complete": true, "exit_code": 1, "seconds": 31.2,
     "checks": [{"id": "record", "title": "...", "status": "failed", "reason": "", "harmless": null,
                 "seconds": 2.1,
                 "findings": [{"status": "failed", "where": "...", "expected": "...",
                               "found": "...", "fix": "..."}]}]}

`started` is whether the interpreter ran, where one was to be; `exit_code` is the command's. A status
is "failed", "warning", "skipped" or "ok"; `reason` says why a check was skipped, and `harmless` whether
nothing is hidden by it: a check that does not apply is skipped without harm, one that could not be done
here is not (null: it was not skipped). `complete` is whether all skips are harmless. Seconds are until
the result was there: checks that share a process, or the processors, wait for each other.

For people, `print_report` has the worst first, and one line of what to do for each thing that is
wrong. For CI, `write_junit` writes JUnit XML, which has no schema of its own: these are the elements
and attributes that the common readers share. A warning is a test that passed, with its text.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from vllm_nix.gpu.device import Device
from vllm_nix.gpu.libraries import Library
from vllm_nix.paths import write_whole
from vllm_nix.since_311 import StrEnum
from vllm_nix.text import printable

if TYPE_CHECKING:  # takes 50 ms to import, and a report may be for machines
    from rich.console import Console
    from rich.table import Table


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


LONGEST = 4000  # characters of a text: a package's name may have any number


def _shorten(one: object, *names: str) -> None:
    for name in names:
        text = getattr(one, name)
        if len(text) > LONGEST:
            cut = f"{text[:LONGEST]} ... and {len(text) - LONGEST} more characters"
            object.__setattr__(one, name, cut)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check saw; `fix` is one line that a user can follow."""

    status: Status
    found: str
    where: str = ""
    expected: str = ""
    fix: str = ""

    def __post_init__(self) -> None:
        _shorten(self, "found", "where", "expected", "fix")


@dataclass(frozen=True, slots=True)
class Result:
    """One check's findings. `reason` says why it was skipped, and is empty otherwise; a skip that is
    not `harmless` may hide a fault: the check applies, and could not be done here."""

    id: str
    title: str
    findings: tuple[Finding, ...]
    seconds: float
    reason: str = ""
    harmless: bool = True

    def __post_init__(self) -> None:
        _shorten(self, "reason")

    @property
    def status(self) -> Status:
        """The worst of its findings', or that it was skipped."""
        if self.reason:
            return Status.SKIPPED
        return min((finding.status for finding in self.findings), key=lambda status: status.rank)


@dataclass(frozen=True, slots=True)
class Report:
    """All results, in the checks' own order. `started`: whether the interpreter ran at all;
    `devices`: the GPUs that were judged for, in words, and `gpus` as such. `gpu_code` reads the
    libraries that were judged, each with what to call it."""

    environment: Path
    target: str | None
    nix: bool
    started: bool
    results: tuple[Result, ...]
    seconds: float
    devices: tuple[str, ...] = ()
    gpus: tuple[Device, ...] = ()
    gpu_code: Callable[[], Sequence[tuple[str, Library]]] = field(
        default=tuple, repr=False, compare=False
    )

    @property
    def status(self) -> Status:
        """The worst of the checks that ran."""
        ran = [result.status for result in self.results if not result.reason]
        return min(ran, key=lambda status: status.rank, default=Status.SKIPPED)

    @property
    def undone(self) -> tuple[Result, ...]:
        """What applies and could not be checked here."""
        return tuple(result for result in self.results if result.reason and not result.harmless)

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
            "complete": not self.undone,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "checks": [
                {
                    "id": result.id,
                    "title": result.title,
                    "status": result.status,
                    "reason": result.reason,
                    "harmless": result.harmless if result.reason else None,
                    "seconds": round(result.seconds, 3),
                    "findings": [asdict(finding) for finding in result.findings],
                }
                for result in self.results
            ],
        }


_STYLE = {
    Status.FAILED: "bold red",
    Status.WARNING: "yellow",
    Status.SKIPPED: "dim",
    Status.OK: "green",
}
WIDTH = 100  # columns of what goes into a file
_SHOWN = 5  # findings of one check; all of them are in the JSON form
# What XML 1.0 has no way to write (section 2.2).
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def print_report(report: Report, console: "Console | None" = None) -> None:
    """Prints a table to the terminal; else plain lines, folded between words at 100 columns."""
    from rich.console import Console

    console = console or Console()
    results = in_order(report.results)
    if console.is_terminal:
        console.print(_table(results))
        width = console.width
    else:
        width = WIDTH
        for result in results:
            head = f"{result.status:8} {result.id:15} "
            for line in lines(result):
                for part in _folded(line, width - len(head)):
                    console.out(head + part, highlight=False)
                    head = " " * len(head)
    for line in summary(report).splitlines():
        console.out("\n".join(_folded(line, width)), highlight=False)


def _folded(line: str, width: int) -> list[str]:
    """Between words, with what follows below the text of a fix; a path stays whole."""
    indent = len(line) - len(line.lstrip()) + 4
    return textwrap.wrap(
        line,
        max(width, 40),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def lines(result: Result, shown: int | None = _SHOWN) -> Iterator[str]:
    """What a result has to say, without its name: what was found, expected, where, and the fix.

    Of what is wrong, the first `shown` findings, failures before warnings; None for all.
    """
    if result.reason:
        yield printable(f"{'' if result.harmless else 'not done here: '}{result.reason}")
        return
    bad = [finding for finding in result.findings if finding.status is not Status.OK]
    if not bad:
        yield printable("; ".join(finding.found for finding in result.findings))
        return
    for finding in sorted(bad, key=lambda finding: finding.status.rank)[:shown]:
        yield from _lines(finding, "" if finding.status is result.status else f"{finding.status}: ")
    if shown is not None and len(bad) > shown:
        yield f"... and {len(bad) - shown} more; --json has them all"


def in_order(results: Iterable[Result]) -> list[Result]:
    """Worst first; those that were skipped for the same reason become one."""
    merged: list[Result] = []
    skipped: dict[tuple[bool, str], list[Result]] = {}
    for result in results:
        if result.reason:
            skipped.setdefault((result.harmless, result.reason), []).append(result)
        else:
            merged.append(result)
    for (_, reason), several in sorted(skipped.items(), key=lambda item: item[0][0]):
        if len(several) == 1:
            merged += several
        else:
            ids = ", ".join(result.id for result in several)
            merged.append(
                replace(several[0], id=f"{len(several)} checks", reason=f"{reason} ({ids})")
            )
    return sorted(merged, key=lambda result: result.status.rank)


def summary(report: Report) -> str:
    """A line of how many checks ended how, in how much time; and one of what could not be done."""
    statuses = [result.status for result in report.results]
    counts = [f"{statuses.count(status)} {status}" for status in Status if status in statuses]
    kind = f"target {report.target}" if report.target else "no target"
    judged = f", for {', '.join(report.devices)}" if report.devices else ""
    text = f"{report.environment} ({kind}{judged}): {', '.join(counts)} in {report.seconds:.1f} s"
    if not report.undone:
        return printable(text)
    reasons = Counter(result.reason for result in report.undone)
    several = [reason if len(reasons) == 1 else f"{n}: {reason}" for reason, n in reasons.items()]
    count = f"{len(report.undone)} check{'s' if len(report.undone) > 1 else ''}"
    return (
        f"{printable(text)}\n{printable(f'{count} could not be done here: ' + '; '.join(several))}"
    )


def _lines(finding: Finding, head: str) -> Iterator[str]:
    place = f"{finding.where}: " if finding.where else ""
    expected = f" (expected {finding.expected})" if finding.expected else ""
    # What is quoted may be anybody's text: each of its lines is indented, and none looks like ours.
    first, *more = f"{head}{place}{finding.found}{expected}".splitlines() or [""]
    yield printable(first)
    for line in more:
        yield f"    {printable(line)}"
    yield f"  fix: {printable(finding.fix)}"


def _table(results: list[Result]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True, style="dim")
    for result in results:
        table.add_row(
            Text(result.status, _STYLE[result.status]),
            result.id,
            Text("\n".join(lines(result))),
            f"{result.seconds:.1f} s",
        )
    return table


def write_junit(report: Report, file: Path) -> None:
    """Writes the whole report, or nothing. Raises `InputError` if the file cannot be written."""
    document = ET.tostring(to_junit(report), encoding="utf-8", xml_declaration=True)
    write_whole("--junit", file, document)


def to_junit(report: Report) -> ET.Element:
    """The element `testsuites`, with one suite."""
    statuses = [result.status for result in report.results]
    numbers = {
        "tests": str(len(statuses)),
        "failures": str(statuses.count(Status.FAILED)),
        "errors": "0",
        "skipped": str(statuses.count(Status.SKIPPED)),
        "time": f"{report.seconds:.3f}",
    }
    suites = ET.Element("testsuites", numbers)
    suite = ET.SubElement(suites, "testsuite", {"name": _text(str(report.environment)), **numbers})
    for result in report.results:
        name = {"classname": "vllm-nix.verify", "name": result.id}
        case = ET.SubElement(suite, "testcase", {**name, "time": f"{result.seconds:.3f}"})
        text = _text("\n".join(lines(result, shown=None)))
        if result.status is Status.FAILED:
            first = text.partition("\n")[0]
            ET.SubElement(case, "failure", {"message": first, "type": result.id}).text = text
        elif result.status is Status.SKIPPED:
            ET.SubElement(case, "skipped", {"message": text})
        else:
            ET.SubElement(case, "system-out").text = text
    return suites


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
