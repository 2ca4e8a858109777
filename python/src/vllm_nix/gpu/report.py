"""What libraries carry, with a device's verdicts if one is named: a table and sentences, or JSON.

Keys of the JSON are only added; `schema` says when one is not (2: "fatbins" was "containers").
"""

from __future__ import annotations  # which pathlib need not be imported for

import os
import sys
from _collections_abc import Iterator, Mapping, Sequence

from vllm_nix.errors import InputError
from vllm_nix.gpu.libraries import RUNS, Code, Library
from vllm_nix.light import NamedTuple
from vllm_nix.text import columns, printable, some, unicode

TYPE_CHECKING = False  # see vllm_nix/__init__.py; these are imported where they are needed
if TYPE_CHECKING:
    from pathlib import Path

    from vllm_nix.gpu.compat import Judgement
    from vllm_nix.gpu.device import Device
    from vllm_nix.gpu.fatbin import Fatbin


class Row(NamedTuple):
    """A library, what to call it, its code by role and, if there is a device, what that does with it."""

    library: Library
    name: str
    code: Mapping[str, Mapping[Code, int]]
    judgement: Judgement | None = None

    @property
    def is_missing(self) -> bool:
        return self.judgement is not None and self.judgement.verdict == "missing"


def device_of(text: str | None, cuda: str | None, jetpack: str | None) -> Device | None:
    if text is None:
        if cuda is not None or jetpack is not None:
            raise InputError(
                f"--{'jetpack' if cuda is None else 'cuda'} without a device; add --for"
            )
        return None
    from vllm_nix.gpu.device import device

    return device(text, cuda, jetpack)


def judge(
    libraries: Sequence[Library], device: Device | None, root: Path | None = None
) -> list[Row]:
    """In the given order, but worst first if there is a device. Names are paths from `root` on."""
    rows = [Row(one, _name(one.file, root), one.counts()) for one in libraries]
    if device is None:
        return rows
    from vllm_nix.gpu.compat import judge_library

    judged = [
        Row(row.library, row.name, row.code, judge_library(row.library, device)) for row in rows
    ]
    return sorted(judged, key=lambda row: row.judgement.verdict.rank if row.judgement else 0)


def _name(file: str | os.PathLike[str], root: Path | None) -> str:
    start = os.path.join(root, "") if root is not None else "\0"  # noqa: PTH118
    return printable(os.fspath(file).removeprefix(start))


def print_table(rows: Sequence[Row], device: Device | None, by_fatbin: bool) -> None:
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
    table = [titles, *lines]
    # Without colours where there is nothing to point at: rich takes longer than all else.
    if sys.stdout.isatty() and (device or _width(table) > columns()):
        _print_rich(titles, lines)
    else:
        _print_plain(table)


def _code_lines(row: Row, by_fatbin: bool) -> Iterator[tuple[str, ...]]:
    name = row.name
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


def _verdict_lines(row: Row, device: Device, by_fatbin: bool) -> Iterator[tuple[str, ...]]:
    assert row.judgement
    yield row.name, row.judgement.verdict, row.judgement.why
    if by_fatbin:
        from vllm_nix.gpu.compat import judge

        for fatbin in row.library.fatbins:
            code = _only(fatbin)
            texts = (_texts(code, cubins=True), _texts(code, cubins=False))
            verdict = str(judge(fatbin, device)) if fatbin.role in RUNS else fatbin.role
            yield _place(fatbin), verdict, ", ".join(filter(None, texts))


def _only(fatbin: Fatbin) -> dict[Code, int]:
    return Library("", (fatbin,), ()).counts()[fatbin.role]


def _place(fatbin: Fatbin) -> str:
    return printable(f"  {fatbin.offset:#x} {fatbin.member} {fatbin.section}".rstrip())


def _texts(code: Mapping[Code, int], cubins: bool) -> str:
    return ", ".join(
        f"{one.arch} \N{MULTIPLICATION SIGN}{count}" + (f" (PTX {one.isa})" if one.isa else "")
        for one, count in code.items()
        if (one.kind == "cubin") is cubins
    )


def _print_plain(lines: Sequence[tuple[str, ...]]) -> None:
    """One line for each row, for other programs; they need not wait for rich."""
    widths = _widths(lines)
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _widths(lines: Sequence[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _width(lines: Sequence[tuple[str, ...]]) -> int:
    return sum(_widths(lines)) + 2 * (len(lines[0]) - 1)


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

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    # A path may take half of the line, a word such as "not-applicable" is not broken.
    table.add_column(titles[0], overflow="fold", max_width=max(console.width // 2, 20))
    table.add_column(titles[1], no_wrap=True)
    for title in titles[2:]:
        table.add_column(title, overflow="fold", ratio=1)
    for line in lines:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in line))
    console.print(table)


def summary(rows: Sequence[Row], device: Device | None) -> str:
    carriers = [row for row in rows if row.library.fatbins]
    if not carriers:
        where = rows[0].name if len(rows) == 1 else f"{len(rows)} files"
        if all(row.library.damage for row in rows) and rows:
            return f"nothing of {where} could be read"
        return f"no GPU code in {where}"
    if device is not None:
        return "\n".join(_sentences(carriers, device))
    code = {one for row in carriers for role in RUNS for one in row.code.get(role, {})}
    found = ", ".join(dict.fromkeys(one.arch for one in sorted(code))) or "none that runs"
    without = len(rows) - len(carriers)
    files = "file" if len(carriers) == 1 else "files"
    return f"{len(carriers)} {files} with GPU code, {without} without; code to run: {found}"


def _sentences(rows: Sequence[Row], device: Device) -> Iterator[str]:
    from vllm_nix.gpu.compat import Verdict

    none: list[str] = []
    parts: list[str] = []
    by_verdict = {verdict: list[str]() for verdict in Verdict}
    for row in rows:
        assert row.judgement
        name = os.path.basename(row.library.file)  # noqa: PTH119
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


def _list(names: Sequence[str]) -> str:
    return some([printable(name) for name in names], 8)


def as_json(rows: Sequence[Row], device: Device | None, by_fatbin: bool) -> str:
    """The same as a document; paths are whole."""
    document: dict[str, object] = {"schema": 2}
    if device is not None:
        document["device"] = device_json(device)
    document["libraries"] = [library_json(row, device, by_fatbin) for row in rows]
    import json

    return json.dumps(document, indent=2)


def device_json(device: Device) -> dict[str, object]:
    return {
        "name": device.name,
        "capability": str(device.capability),
        "cuda": device.cuda,
        "ptx_isa": device.ptx_isa,
    }


def library_json(row: Row, device: Device | None, by_fatbin: bool) -> dict[str, object]:
    library = row.library
    found: dict[str, object] = {
        "path": unicode(library.file),
        "code": [
            {"role": role, "kind": one.kind, "arch": one.arch, "isa": one.isa, "count": count}
            for role, code in row.code.items()
            for one, count in code.items()
        ],
        "damage": library.damage,
    }
    if row.judgement:
        found["verdict"] = row.judgement.verdict
        found["verdicts"] = row.judgement.counts
        found["why"] = row.judgement.why
    if by_fatbin:
        found["fatbins"] = [_fatbin_json(one, device) for one in library.fatbins]
    return found


def _fatbin_json(fatbin: Fatbin, device: Device | None) -> dict[str, object]:
    found: dict[str, object] = {
        "offset": fatbin.offset,
        "size": fatbin.size,
        "section": fatbin.section,
        "member": fatbin.member,
        "role": fatbin.role,
        "entries": [
            {
                "offset": entry.offset,
                "kind": entry.kind,
                "arch": entry.arch,
                "version": "{}.{}".format(*entry.version),
                "compression": entry.compression,
                "size": entry.size,
                "uncompressed_size": entry.uncompressed_size,
                "name": entry.name,
                "kernels": entry.kernels,
            }
            for entry in fatbin.entries
        ],
    }
    if device is not None:
        from vllm_nix.gpu.compat import judge

        found["verdict"] = judge(fatbin, device) if fatbin.role in RUNS else None
    return found
