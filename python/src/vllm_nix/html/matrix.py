"""A matrix of libraries by devices: a table whose cells open, a card for each device, the legend."""

from collections.abc import Iterable, Iterator, Sequence

from vllm_nix.gpu.capability import table
from vllm_nix.gpu.compat import Judgement, Verdict
from vllm_nix.gpu.device import Device
from vllm_nix.gpu.matrix import Matrix, Outcome
from vllm_nix.html.page import path, plain, text
from vllm_nix.text import counted

_MARKS = {
    Verdict.NATIVE: "✓",
    Verdict.COMPATIBLE: "≈",
    Verdict.JIT: "◷",
    Verdict.MISSING: "✗",
    Verdict.UNKNOWN: "?",
    Verdict.DEAD: "†",
    Verdict.NOT_APPLICABLE: "○",
}
_SHORT = {Verdict.NOT_APPLICABLE: "not for it"}
_MEANINGS = {
    Verdict.NATIVE: "It has code for this very device.",
    Verdict.COMPATIBLE: "It has code for a related device, which this one runs.",
    Verdict.JIT: "It has PTX, which the driver compiles at first start.",
    Verdict.MISSING: "It lacks code that the device needs: it has code for older devices only, or PTX too new for the driver.",
    Verdict.UNKNOWN: "It depends on the CUDA release of the device's driver.",
    Verdict.DEAD: "FlashAttention 3, which vLLM calls on Hopper (9.0) alone.",
    Verdict.NOT_APPLICABLE: "Its code is for other devices, such as kernels for Hopper. That is no fault.",
}


def cards(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """What the devices make of all the libraries together."""
    yield '<ul class="cards">'
    for one in outcomes:
        yield (
            f"<li><h3>{plain(one.device)} {tag(one.verdict)}</h3>"
            f"<p>{text(one.sentence[:1].upper() + one.sentence[1:])}.</p>"
            f"<p><small>{plain(one.numbers)}</small></p>{_names(one.device)}</li>"
        )
    yield "</ul>"


def tag(verdict: Verdict, word: str = "") -> str:
    """A verdict in a line of text, in colour."""
    word = word or _SHORT.get(verdict, verdict)
    return f'<span class="tag {verdict}">{_mark(verdict)}{plain(word)}</span>'


def legend() -> str:
    rows = (
        f"<div><dt>{tag(one)}</dt><dd>{_MEANINGS[one]}</dd></div>"
        for one in sorted(Verdict, key=list(_MARKS).index)
    )
    return f'<dl class="legend">{"".join(rows)}</dl>'


def matrix_table(matrix: Matrix, caption: str, titles: Sequence[str] = ()) -> Iterator[str]:
    """Libraries by devices; `titles` are the devices', if not their names."""
    titles = titles or [one.name for one in matrix.devices]
    rows = ((row.name, map(_cell, row.judgements, titles)) for row in matrix.rows)
    return _table("library", rows, caption, titles)


def outcome_table(
    rows: Iterable[tuple[str, Sequence[Outcome]]], caption: str, titles: Sequence[str]
) -> Iterator[str]:
    """Wheels, or what else holds libraries, by devices."""
    cells = ((name, map(_outcome, outcomes, titles)) for name, outcomes in rows)
    return _table("wheel", cells, caption, titles)


def _table(
    first: str, rows: Iterable[tuple[str, Iterable[str]]], caption: str, titles: Sequence[str]
) -> Iterator[str]:
    """On a phone its style makes it a list of cards, which would end the table for a screen reader if
    the roles were not said."""
    yield f'<table class="matrix" role="table"><caption>{text(caption)}</caption>'
    heads = (f'<th scope="col" role="columnheader">{plain(one)}</th>' for one in titles)
    yield (
        '<thead role="rowgroup"><tr role="row">'
        f'<th scope="col" role="columnheader" class="first">{first}</th>{"".join(heads)}</tr></thead>'
    )
    yield '<tbody role="rowgroup">'
    for name, cells in rows:
        yield (
            f'<tr role="row"><th scope="row" role="rowheader" class="name">{path(name)}</th>'
            f"{''.join(cells)}</tr>"
        )
    yield "</tbody></table>"


def _cell(judgement: Judgement, title: str) -> str:
    verdict = judgement.verdict
    total = sum(judgement.counts.values())
    number = judgement.counts.get(verdict, total)
    others = ", ".join(
        f"{count} {other}" for other, count in judgement.counts.items() if other is not verdict
    )
    why = f"{judgement.why[:1].upper()}{judgement.why[1:]}{f'; the others: {others}' if others else ''}."
    small = f"<small>{number} of {total}</small>" if total else ""
    return (
        f'<td role="cell" class="{verdict}" data-device="{plain(title)}">'
        f'<details name="why"><summary>{_mark(verdict)}'
        f'<span class="word">{_SHORT.get(verdict, verdict)}</span>{small}</summary>'
        f"<p><strong>{plain(title)}: {verdict}.</strong> {text(why)}</p></details></td>"
    )


def _outcome(outcome: Outcome, title: str) -> str:
    verdict = outcome.verdict
    number = f"<small>{outcome.counts[verdict]}</small>" if outcome.counts[verdict] else ""
    return (
        f'<td role="cell" class="{verdict}" data-device="{plain(title)}"><div>{_mark(verdict)}'
        f'<span class="word">{_SHORT.get(verdict, verdict)}</span>{number}</div></td>'
    )


def _mark(verdict: Verdict) -> str:
    return f'<span class="mark" aria-hidden="true">{_MARKS[verdict]}</span>'


def _names(device: Device) -> str:
    """What NVIDIA calls the devices of a capability, if no one of them was asked for."""
    if device.name != str(device.capability):
        return ""
    row = table().get(device.name, {})
    names = [*row.get("devices", ()), *row.get("grace", ())]
    if not names:
        return ""
    if len(names) <= 4:
        return f"<p><small>{plain(', '.join(names))}</small></p>"
    return (
        f"<details><summary><small>{plain(', '.join(names[:3]))} "
        f"and {counted(len(names) - 3, 'other')}</small></summary>"
        f"<p><small>{plain(', '.join(names[3:]))}</small></p></details>"
    )
