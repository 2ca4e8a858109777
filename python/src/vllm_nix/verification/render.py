"""A report for people: worst first, one line of cure for each thing that is wrong."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vllm_nix.verification.report import Finding, Report, Result, Status

_STYLE = {
    Status.FAILED: "bold red",
    Status.WARNING: "yellow",
    Status.SKIPPED: "dim",
    Status.OK: "green",
}
_SHOWN = 5  # findings of one check; all of them are in the JSON form


def print_report(report: Report, console: Console | None = None) -> None:
    """Prints a table to the terminal; else plain lines, as wide as they come."""
    console = console or Console()
    results = _in_order(report.results)
    if console.is_terminal:
        console.print(_table(results))
    else:
        for result in results:
            head = f"{result.status:8} {result.id:15}"
            for line in lines(result):
                console.out(f"{head} {line}", highlight=False)
                head = " " * len(head)
    console.out(summary(report), highlight=False)


def lines(result: Result, shown: int | None = _SHOWN) -> Iterator[str]:
    """What a result has to say, without its name: what was found, expected, where, and the cure.

    Of what is wrong, the first `shown` findings; None for all.
    """
    if result.reason:
        yield result.reason
        return
    bad = [finding for finding in result.findings if finding.status is not Status.OK]
    if not bad:
        yield "; ".join(finding.found for finding in result.findings)
        return
    for finding in bad[:shown]:
        yield from _lines(finding)
    if shown is not None and len(bad) > shown:
        yield f"... and {len(bad) - shown} more; --json has them all"


def _in_order(results: Iterable[Result]) -> list[Result]:
    """Worst first; those that were skipped for the same reason become one."""
    merged: list[Result] = []
    skipped: dict[str, list[Result]] = {}
    for result in results:
        if result.reason:
            skipped.setdefault(result.reason, []).append(result)
        else:
            merged.append(result)
    for reason, several in skipped.items():
        if len(several) == 1:
            merged += several
        else:
            ids = ", ".join(result.id for result in several)
            merged.append(
                replace(several[0], id=f"{len(several)} checks", reason=f"{reason} ({ids})")
            )
    return sorted(merged, key=lambda result: result.status.rank)


def summary(report: Report) -> str:
    """One line: how many checks ended how, in how much time."""
    statuses = [result.status for result in report.results]
    counts = [f"{statuses.count(status)} {status}" for status in Status if status in statuses]
    kind = f"target {report.target}" if report.target else "no target"
    judged = f", for {', '.join(report.devices)}" if report.devices else ""
    return f"{report.environment} ({kind}{judged}): {', '.join(counts)} in {report.seconds:.1f} s"


def _lines(finding: Finding) -> Iterator[str]:
    place = f"{finding.where}: " if finding.where else ""
    expected = f" (expected {finding.expected})" if finding.expected else ""
    for line in (*f"{place}{finding.found}{expected}".splitlines(), f"  mend: {finding.cure}"):
        # What is quoted may be anybody's text: no escape sequences to the terminal.
        yield "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


def _table(results: list[Result]) -> Table:
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
