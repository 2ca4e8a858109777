"""Libraries by devices: what each of several devices does with each library's GPU code."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vllm_nix.gpu import report
from vllm_nix.gpu.compat import Judgement, Verdict, judge_library
from vllm_nix.gpu.device import Device, device, rules
from vllm_nix.gpu.libraries import Library
from vllm_nix.text import has_colours

LETTERS = {
    Verdict.NATIVE: "N",
    Verdict.COMPATIBLE: "C",
    Verdict.JIT: "J",
    Verdict.MISSING: "M",
    Verdict.UNKNOWN: "?",
    Verdict.DEAD: "D",
    Verdict.NOT_APPLICABLE: "-",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A library with what it carries, and its judgements: one for each device of the matrix."""

    read: report.Row
    judgements: tuple[Judgement, ...]

    @property
    def name(self) -> str:
        return self.read.name

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return min(one.verdict.rank for one in self.judgements)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All libraries together, for a device: how many there are of each verdict."""

    device: Device
    counts: Counter[Verdict]

    @property
    def verdict(self) -> Verdict:
        """The worst of those with code for such devices; NOT_APPLICABLE if there is none."""
        needed = set(self.counts) - {Verdict.DEAD, Verdict.NOT_APPLICABLE}
        return min(needed, key=lambda one: one.rank, default=Verdict.NOT_APPLICABLE)

    @property
    def sentence(self) -> str:
        match self.verdict:
            case Verdict.MISSING:
                number = self.counts[Verdict.MISSING]
                have = "library lacks" if number == 1 else "libraries lack"
                return f"{number} {have} code that it needs"
            case Verdict.UNKNOWN:
                return "depends on its driver's CUDA: say --cuda or --jetpack"
            case Verdict.JIT:
                return "all its code is there, and some is compiled at first start"
            case Verdict.NOT_APPLICABLE:
                return "nothing is for it"
        return "all its code is there"

    @property
    def numbers(self) -> str:
        return ", ".join(f"{self.counts[one]} {one}" for one in Verdict if self.counts[one])


@dataclass(frozen=True, slots=True)
class Matrix:
    """Libraries that carry GPU code, worst first, by devices."""

    devices: tuple[Device, ...]
    rows: tuple[Row, ...]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return tuple(
            Outcome(one, Counter(row.judgements[index].verdict for row in self.rows))
            for index, one in enumerate(self.devices)
        )

    @property
    def is_missing(self) -> bool:
        """Whether any of the devices lacks code."""
        return any(one.verdict is Verdict.MISSING for one in self.outcomes)


def default_devices(cuda: str | None = None, jetpack: str | None = None) -> tuple[Device, ...]:
    """Those that people ask for most, by compute capability. Raises `InputError`."""
    names: list[str] = rules()["matrix"]["capabilities"]
    return tuple(device(name, cuda, jetpack) for name in names)


def make_matrix(rows: Sequence[report.Row], devices: Sequence[Device]) -> Matrix:
    """The matrix of what was read: rows as `report.judge` makes them."""
    judged = [
        Row(row, tuple(judge_library(row.library, one) for one in devices))
        for row in rows
        if row.library.fatbins
    ]
    return Matrix(tuple(devices), tuple(sorted(judged, key=lambda row: row.rank)))


def of_libraries(libraries: Sequence[tuple[str, Library]], devices: Sequence[Device]) -> Matrix:
    """The matrix of libraries, each with what to call it."""
    return make_matrix([report.Row(one, name, one.counts()) for name, one in libraries], devices)


def lines(matrix: Matrix) -> Iterator[tuple[str, ...]]:
    """The matrix in letters, its titles first."""
    yield ("file", *(one.name for one in matrix.devices))
    for row in matrix.rows:
        yield (row.name, *(LETTERS[one.verdict] for one in row.judgements))


def print_matrix(matrix: Matrix) -> None:
    """Prints the matrix, what its letters mean, and a line for each device."""
    if not matrix.rows:
        print("no GPU code")
        return
    titles, *rows = lines(matrix)
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    colour = has_colours()
    for line in (titles, *rows):
        cells = (
            _styled(f"{cell:>{width}}", cell, colour)
            for cell, width in zip(line[1:], widths[1:], strict=True)
        )
        print(f"{line[0]:{widths[0]}}", *cells, sep="  ")
    print()
    print("  ".join(f"{letter} {verdict}" for verdict, letter in LETTERS.items()))
    print()
    for one in matrix.outcomes:
        print(f"{one.device}: {one.sentence} ({one.numbers})")


# Red, yellow, green, faint: a terminal's own (ECMA-48, "select graphic rendition").
_COLOURS = {"M": "1;31", "?": "33", "J": "33", "N": "32", "C": "32", "D": "2", "-": "2"}


def _styled(text: str, cell: str, colour: bool) -> str:
    number = _COLOURS.get(cell)
    return f"\x1b[{number}m{text}\x1b[0m" if colour and number else text


def as_json(matrix: Matrix, rows: Sequence[report.Row]) -> str:
    """As `report.as_json` has it; but `devices` is a list, and each library's `devices` has their
    verdicts, in that order."""
    judgements = {row.read.library.path: row.judgements for row in matrix.rows}
    libraries = [
        report.library_json(row, None, by_fatbin=False)
        | {"devices": list(map(_json, judgements.get(row.library.path, ())))}
        for row in rows
    ]
    devices = [report.device_json(one) for one in matrix.devices]
    return json.dumps({"schema": 2, "devices": devices, "libraries": libraries}, indent=2)


def _json(judgement: Judgement) -> dict[str, object]:
    return {
        "verdict": judgement.verdict,
        "verdicts": judgement.counts,
        "why": judgement.why,
    }
