"""The page of `vllm-nix archs --html`: which of the libraries' code which devices run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vllm_nix.gpu.compat import Verdict, fix_missing
from vllm_nix.gpu.libraries import Library
from vllm_nix.gpu.matrix import Matrix, Outcome
from vllm_nix.html.matrix import cards, legend, matrix_table
from vllm_nix.html.page import copied, page, path, plain, short, text
from vllm_nix.text import some

_MOST = 8  # fixes of a device, damaged files


def archs_page(matrix: Matrix, paths: Sequence[Path], libraries: Sequence[Library]) -> str:
    """The page of what was read from `paths`."""
    title = ", ".join(map(short, paths))
    return page(f"GPU code: {title}", _body(matrix, title, libraries))


def _body(matrix: Matrix, title: str, libraries: Sequence[Library]) -> Iterator[str]:
    yield f"<h1>GPU code of {path(title)}</h1>"
    verdict, sentence = conclusion(matrix)
    yield f'<p class="verdict {verdict}">{text(sentence)}</p>'
    yield (
        "<p>Read from the files: nothing was run, and no GPU was asked. What Triton and vLLM compile "
        "on the device is in no library, and not judged here.</p>"
    )
    if matrix.rows:
        yield "<h2>Devices</h2>"
        yield from cards(matrix.outcomes)
        yield "<h2>Libraries</h2>"
        yield legend()
        yield from matrix_table(
            matrix,
            "Worst first. A number says how many of the library's fatbins (one for each source file) "
            "have the verdict, which is that of the worst. Open a cell for the reason.",
        )
        yield from fixes(matrix)
    damaged = [one for one in libraries if one.damage]
    if damaged:
        yield "<h2>Not read in full</h2><ul>"
        for one in damaged[:_MOST]:
            yield f"<li><code>{path(one.path)}</code>: {text(one.damage[0])}</li>"
        if len(damaged) > _MOST:
            yield f"<li>and {len(damaged) - _MOST} more; <code>--json</code> has them all</li>"
        yield "</ul>"


def conclusion(matrix: Matrix) -> tuple[str, str]:
    """The verdict on all devices together, as a class of the style, and a sentence."""
    if not matrix.rows:
        return "skipped", "There is no GPU code."
    if len(matrix.outcomes) == 1:
        (one,) = matrix.outcomes
        return one.verdict, f"{one.device}: {one.sentence}."
    good = [one.device.name for one in matrix.outcomes if one.verdict.runs]
    rest = [one.device.name for one in matrix.outcomes if not one.verdict.runs]
    if not good:
        return "missing", f"None of {len(rest)} devices has all the code that it needs."
    if not rest:
        return "native", f"All {len(good)} devices have the code that they need."
    return "jit", (
        f"{len(good)} of {len(matrix.devices)} devices have all the code that they need: "
        f"{', '.join(good)}. Not so {', '.join(rest)}."
    )


def fixes(matrix: Matrix) -> Iterator[str]:
    """What to do for the devices that lack code."""
    lacking = [one for one in matrix.outcomes if one.verdict is Verdict.MISSING]
    if lacking:
        yield "<h2>What to do</h2>"
        yield '<ul class="cards wide">'
        for one in lacking:
            yield from _fixes(matrix, one)
        yield "</ul>"


def _fixes(matrix: Matrix, outcome: Outcome) -> Iterator[str]:
    index = matrix.devices.index(outcome.device)
    names: dict[str, list[str]] = {}
    for row in matrix.rows:
        if row.judgements[index].verdict is Verdict.MISSING:
            fix = fix_missing(row.read.library, outcome.device)
            names.setdefault(fix, []).append(row.name)
    yield f"<li><h3>{plain(outcome.device)}</h3>"
    for fix, several in names.items():
        listed = some([f'<span class="name">{path(one)}</span>' for one in several], _MOST)
        yield f"<p><small>{listed}</small></p>{copied(fix)}"
    yield "</li>"
