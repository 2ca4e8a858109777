"""The page of `vllm-nix verify --html`: what was found of an environment, and what to do."""

from collections.abc import Iterator
from itertools import groupby

from vllm_nix.gpu.matrix import Matrix, default_devices, of_libraries
from vllm_nix.html.matrix import cards, legend, matrix_table
from vllm_nix.html.page import copied, facts, page, path, plain, short, text
from vllm_nix.text import counted
from vllm_nix.verification.report import Finding, Report, Result, Status, in_order, lines

_MOST = 50  # findings of a check
_WORDS = {
    Status.FAILED: ("✗", "Does not work"),
    Status.WARNING: ("!", "Works, with warnings"),
    Status.SKIPPED: ("○", "Nothing was checked"),
    Status.OK: ("✓", "Works"),
}


def verify_page(report: Report) -> str:
    """The page of a report."""
    return page(f"{_WORDS[_class(report)][1]}: {short(report.environment)}", _body(report))


def _body(report: Report) -> Iterator[str]:
    yield f"<h1>{path(short(report.environment))}</h1>"
    yield f'<p class="verdict {_class(report)}">{text(_verdict(report))}</p>'
    rows = {
        "environment": path(report.environment),
        "target": plain(report.target or "none: a plain environment"),
        "judged for": plain(", ".join(report.devices) or "no GPU"),
        "checks": plain(_counts(report)),
        "time": f"{report.seconds:.1f} s",
    }
    yield facts(rows)
    for status, title in ((Status.FAILED, "What to fix"), (Status.WARNING, "Warnings")):
        yield from _problems([one for one in report.results if one.status is status], title)
    if any(one.id == "gpu-code" for one in report.results) and (found := report.gpu_code()):
        yield from _gpu_code(of_libraries(found, report.gpus or default_devices()))
    yield "<h2>All checks</h2>"
    yield from _checks(report)


def _class(report: Report) -> Status:
    if not report.started:
        return Status.FAILED
    return Status.WARNING if report.status is Status.OK and report.undone else report.status


def _verdict(report: Report) -> str:
    if not report.started:
        return "✗ Its Python does not start."
    mark, words = _WORDS[report.status]
    number = sum(one.status is report.status for one in report.results)
    if report.status is Status.FAILED:
        words += f": {counted(number, 'check')} failed"
    if report.undone:
        words += f"; {counted(len(report.undone), 'check')} could not be done here"
    return f"{mark} {words}."


def _counts(report: Report) -> str:
    statuses = [one.status for one in report.results]
    return ", ".join(f"{statuses.count(one)} {one}" for one in Status if one in statuses)


def _problems(results: list[Result], title: str) -> Iterator[str]:
    if not results:
        return
    yield f'<h2>{title}</h2><ul class="cards wide">'
    for result in results:
        yield f"<li><h3>{_tag(result.status)} {text(result.title)}</h3>"
        bad = [one for one in result.findings if one.status is not Status.OK]
        for fix, several in groupby(bad[:_MOST], key=lambda one: one.fix):
            yield from map(_finding, several)
            if fix:
                yield copied(fix)
        if len(bad) > _MOST:
            yield f"<p>... and {len(bad) - _MOST} more; <code>--json</code> has them all.</p>"
        yield f"<p><small>Check <code>{plain(result.id)}</code></small></p></li>"
    yield "</ul>"


def _finding(finding: Finding) -> str:
    where = f'<span class="name">{path(finding.where)}</span>: ' if finding.where else ""
    expected = f" <small>Expected: {text(finding.expected)}.</small>" if finding.expected else ""
    return f"<p>{where}{text(finding.found)}.{expected}</p>"


def _gpu_code(matrix: Matrix) -> Iterator[str]:
    yield "<h2>GPU code</h2>"
    yield from cards(matrix.outcomes)
    yield legend()
    yield from matrix_table(
        matrix,
        "Libraries by devices, worst first. A number says how many of the library's fatbins (one for "
        "each source file) have the verdict, which is that of the worst. Open a cell for the reason.",
    )


def _checks(report: Report) -> Iterator[str]:
    yield (
        '<table class="checks" role="table"><caption>Worst first. <code>vllm-nix verify --explain '
        "CHECK</code> says what a check proves.</caption>"
    )
    heads = ("check", "status", "found", "seconds")
    cells = "".join(f'<th scope="col" role="columnheader">{one}</th>' for one in heads)
    yield f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead><tbody role="rowgroup">'
    for result in in_order(report.results):
        said = "<br>".join(text(line) for line in lines(result))
        yield (
            f'<tr role="row"><th scope="row" role="rowheader" class="name">{plain(result.id)}</th>'
            f'<td role="cell">{_tag(result.status)}</td><td role="cell" class="found">{said}</td>'
            f'<td role="cell" class="number">{result.seconds:.1f}</td></tr>'
        )
    yield "</tbody></table>"


def _tag(status: Status) -> str:
    mark = f'<span class="mark" aria-hidden="true">{_WORDS[status][0]}</span>'
    return f'<span class="tag {status}">{mark}{status}</span>'
