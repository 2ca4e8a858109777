"""Prints what libraries carry, with a device's verdicts if one is named: a table, sentences."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.errors import InputError
from vllm_nix.gpu.inventory import RUNS, Code, Library

TYPE_CHECKING = False  # see vllm_nix/__init__.py; these are imported where they are needed
if TYPE_CHECKING:
    from vllm_nix.gpu.compat import Device, Judgement
    from vllm_nix.gpu.fatbin import Fatbin


@dataclass(frozen=True, slots=True)
class Row:
    """A library, its code by role and, if there is a device, what that does with it."""

    library: Library
    code: Mapping[str, Mapping[Code, int]]
    judgement: "Judgement | None" = None

    @property
    def is_missing(self) -> bool:
        return self.judgement is not None and self.judgement.verdict == "missing"


def device_of(text: str | None, cuda: str | None, jetpack: str | None) -> "Device | None":
    if text is None:
        if cuda or jetpack:
            raise InputError(f"--{'cuda' if cuda else 'jetpack'} without a device; add --for")
        return None
    from vllm_nix.gpu.compat import device

    return device(text, cuda, jetpack)


def judge(libraries: Sequence[Library], device: "Device | None") -> list[Row]:
    """In the given order, but worst first if there is a device."""
    if device is None:
        return [Row(library, library.counts()) for library in libraries]
    from vllm_nix.gpu.compat import judge_library

    judged = [(library, judge_library(library, device)) for library in libraries]
    judged.sort(key=lambda pair: pair[1].verdict.rank)
    return [Row(library, library.counts(), judgement) for library, judgement in judged]


def print_table(rows: Sequence[Row], device: "Device | None", by_fatbin: bool) -> None:
    carriers = [row for row in rows if row.library.fatbins]
    if not carriers:
        return
    titles: tuple[str, ...]
    if device is None:
        titles = ("file", "role", "cubins", "PTX and IR")
        lines = [line for row in carriers for line in _code_lines(row, by_fatbin)]
    else:
        titles = ("file", "verdict", "why")
        lines = [line for row in carriers for line in _verdict_lines(row, device, by_fatbin)]
    if sys.stdout.isatty():
        _print_rich(titles, lines)
    else:
        _print_plain([titles, *lines])


def _code_lines(row: Row, by_fatbin: bool) -> Iterator[tuple[str, ...]]:
    name = shown(row.library.path)
    for role, code in row.code.items():
        yield name, role, _texts(code, cubins=True), _texts(code, cubins=False)
        name = ""
    if by_fatbin:
        for fatbin in row.library.fatbins:
            code = _only(fatbin)
            yield (
                _place(fatbin),
                fatbin.role,
                _texts(code, cubins=True),
                _texts(code, cubins=False),
            )


def _verdict_lines(row: Row, device: "Device", by_fatbin: bool) -> Iterator[tuple[str, ...]]:
    assert row.judgement
    yield shown(row.library.path), row.judgement.verdict, row.judgement.why
    if by_fatbin:
        from vllm_nix.gpu.compat import judge

        for fatbin in row.library.fatbins:
            code = _only(fatbin)
            texts = (_texts(code, cubins=True), _texts(code, cubins=False))
            verdict = str(judge(fatbin, device)) if fatbin.role in RUNS else fatbin.role
            yield _place(fatbin), verdict, ", ".join(filter(None, texts))


def _only(fatbin: "Fatbin") -> dict[Code, int]:
    return Library(Path(), (fatbin,), ()).count(fatbin.role)


def _place(fatbin: "Fatbin") -> str:
    return f"  {fatbin.offset:#x} {fatbin.member} {fatbin.section}".rstrip()


def _texts(code: Mapping[Code, int], cubins: bool) -> str:
    return ", ".join(
        f"{one.arch} \N{MULTIPLICATION SIGN}{count}" + (f" (PTX {one.isa})" if one.isa else "")
        for one, count in code.items()
        if (one.kind == "cubin") is cubins
    )


def _print_plain(lines: Sequence[tuple[str, ...]]) -> None:
    """One line for each row, for other programs; they need not wait for rich."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


_STYLES = {
    "missing": "bold red",
    "unknown": "yellow",
    "jit": "yellow",
    "compatible": "green",
    "native": "green",
}


def _print_rich(titles: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in line))
    Console().print(table)


def summary(rows: Sequence[Row], device: "Device | None") -> str:
    carriers = [row for row in rows if row.library.fatbins]
    if not carriers:
        where = shown(rows[0].library.path) if len(rows) == 1 else f"{len(rows)} files"
        return f"no GPU code in {where}"
    if device is not None:
        return "\n".join(_sentences(carriers, device))
    code = {one for row in carriers for role in RUNS for one in row.code.get(role, {})}
    found = ", ".join(dict.fromkeys(one.arch for one in sorted(code))) or "none that runs"
    without = len(rows) - len(carriers)
    files = "file" if len(carriers) == 1 else "files"
    return f"{len(carriers)} {files} with GPU code, {without} without; code to run: {found}"


def _sentences(rows: Sequence[Row], device: "Device") -> Iterator[str]:
    from vllm_nix.gpu.compat import Verdict

    none: list[str] = []
    parts: list[str] = []
    by_verdict = {verdict: list[str]() for verdict in Verdict}
    for row in rows:
        assert row.judgement
        name = row.library.path.name
        by_verdict[row.judgement.verdict].append(name)
        if row.is_missing:
            some = any(verdict.runs for verdict in row.judgement.counts)
            (parts if some else none).append(name)
    if none:
        yield f"{_have(none)} no code that {device} runs: {_list(none)}"
    if parts:
        yield f"{_have(parts)} parts that {device} does not run: {_list(parts)}"
    if unknown := by_verdict[Verdict.UNKNOWN]:
        yield f"{_have(unknown)} code that {device} may not run: {_list(unknown)}"
    if jit := by_verdict[Verdict.JIT]:
        yield f"{_have(jit)} code that {device} compiles at first start: {_list(jit)}"
    if ready := by_verdict[Verdict.NATIVE] + by_verdict[Verdict.COMPATIBLE]:
        yield f"{_have(ready)} all the code that {device} needs"
    if other := by_verdict[Verdict.NOT_APPLICABLE] + by_verdict[Verdict.DEAD]:
        yield f"{_have(other)} nothing for {device}: {_list(other)}"


def _have(names: Sequence[str]) -> str:
    return f"{len(names)} library has" if len(names) == 1 else f"{len(names)} libraries have"


def _list(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(Path(name)) for name in names[:most]) + more


def shown(path: Path) -> str:
    """A path may hold bytes that are no text; printing it must not fail."""
    return str(path).encode("utf-8", "backslashreplace").decode()
