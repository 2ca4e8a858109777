"""Show which GPU code libraries carry, and what that means for a device.

Reads shared libraries, executables, object files, static libraries, wheels, and all of these in folders.
Needs no GPU and no CUDA. The code's role is one of:

  host         launched by the library's host code
  embedded     data that the library loads by itself, as cuFFT does
  relocatable  input of the device linker, from nvcc -rdc; not to be run
  stub         nothing but what nvcc's link step adds to every library

With --for, each library gets a verdict, worst first:

  missing         it has code for older devices only, or PTX too new for the device's CUDA
  unknown         it depends on the device's CUDA; say --cuda or --jetpack
  jit             it has PTX, which is compiled at first start
  compatible      it has code for a related device, which this one runs
  native          it has code for this very device
  dead            flash-attention 3, which vLLM calls on Hopper alone
  not-applicable  it has code for other devices only

Links to files are followed, links to folders only within PATH and into the Nix store.
With several --for, or with --matrix, a line for each library, with a letter for each device.

Exit status: 0; 1 when something is damaged or missing; 2 when a path is not there or is not such a
file, or a device is unknown.
"""

from __future__ import annotations  # which argparse and pathlib need not be imported for

import sys
from types import SimpleNamespace

from vllm_nix.errors import InputError
from vllm_nix.gpu import report
from vllm_nix.gpu.libraries import read_path
from vllm_nix.text import counted, printable

TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from vllm_nix.gpu.device import Device
    from vllm_nix.gpu.libraries import Library
    from vllm_nix.gpu.report import Row


MOST_CUBINS = 50  # in files of their own, that are listed; flashinfer-cubin has 10,000


def plain(words: Sequence[str]) -> SimpleNamespace | None:
    """What the parser makes of paths without options, in a fifth of its time; None for all else. A path
    as pathlib would write it otherwise is left to it."""
    odd = ("-", "./")
    if not words or any(
        word.startswith(odd)
        or "//" in word
        or "/./" in word
        or word.endswith(("/", "/."))
        or not word
        for word in words
    ):
        return None
    return SimpleNamespace(paths=list(words), devices=[], html=None, **_UNASKED)


_UNASKED = {"cuda": None, "jetpack": None, "fatbins": False, "matrix": False, "json": False}


def arguments(parser: argparse.ArgumentParser) -> None:
    from pathlib import Path

    from vllm_nix.cli.parsers import add_driver

    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or folder")
    parser.add_argument(
        "--for",
        dest="devices",
        action="append",
        default=[],
        metavar="DEVICE",
        help="a GPU: orin, RTX 5090, 8.7 ...; may be repeated",
    )
    add_driver(parser)
    parser.add_argument("--fatbins", action="store_true", help="list every fatbin")
    parser.add_argument(
        "--matrix", action="store_true", help="libraries by devices, those of --for or the usual"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the matrix as a page")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace | SimpleNamespace) -> int:
    if args.html is not None:
        from vllm_nix.paths import check_writable

        check_writable("--html", args.html)
    is_matrix = args.matrix or len(args.devices) > 1 or (args.html is not None and not args.devices)
    if is_matrix and args.fatbins:
        raise InputError("--fatbins is for one device; leave out --matrix and all but one --for")
    devices = _devices(args, is_matrix)
    found = [library for path in args.paths for library in read_path(path)]
    libraries = [library for library in found if not library.note]
    few, left_out = _without_cubins(libraries)
    if not args.json:
        libraries = few
    root = args.paths[0] if len(args.paths) == 1 else None
    rows = report.judge(libraries, None if is_matrix else next(iter(devices), None), root)
    if args.html is not None:
        from vllm_nix.gpu.matrix import make_matrix
        from vllm_nix.html.archs import archs_page
        from vllm_nix.paths import write_whole

        page = archs_page(make_matrix(rows, devices), args.paths, libraries)
        write_whole("--html", args.html, page.encode("utf-8"))
    if is_matrix:
        is_missing = _show_matrix(args, rows, devices) and bool(args.devices)
    else:
        is_missing = _show(args, rows, next(iter(devices), None))
    for library in libraries:
        if library.damage:
            more = f" (and {len(library.damage) - 1} more)" if len(library.damage) > 1 else ""
            text = printable(f"{library.file}: {library.damage[0]}{more}")
            print(f"vllm-nix: {text}", file=sys.stderr)
    if not args.json and left_out:
        text = f"{left_out} cubins, each a file of its own, are not listed: who loads one has picked it"
        print(f"vllm-nix: {text}; name one, or say --json", file=sys.stderr)
    if notes := [library for library in found if library.note]:
        more = f" (and {counted(len(notes) - 1, 'more link')})" if len(notes) > 1 else ""
        text = printable(f"{notes[0].file}: {notes[0].note}{more}")
        print(f"vllm-nix: {text}", file=sys.stderr)
    return int(is_missing or any(library.damage for library in libraries))


def _without_cubins(libraries: list[Library]) -> tuple[list[Library], int]:
    """Without those, if they are more than anybody reads, and how many that are."""
    others = [library for library in libraries if not library.is_bare]
    count = len(libraries) - len(others)
    return (others, count) if count > MOST_CUBINS else (libraries, 0)


def _devices(args: argparse.Namespace | SimpleNamespace, is_matrix: bool) -> Sequence[Device]:
    """Those of --for; without, the usual ones for a matrix, and none for a list."""
    if is_matrix and not args.devices:
        from vllm_nix.gpu.matrix import default_devices

        return default_devices(args.cuda, args.jetpack)
    names = args.devices or [None]
    found = (report.device_of(name, args.cuda, args.jetpack) for name in names)
    return [one for one in found if one is not None]


def _show(
    args: argparse.Namespace | SimpleNamespace, rows: Sequence[Row], device: Device | None
) -> bool:
    """Prints the list; says whether something is missing."""
    if args.json:
        print(report.as_json(rows, device, args.fatbins))
    else:
        report.print_table(rows, device, args.fatbins)
        print(report.summary(rows, device))
    is_listed = not _without_cubins([row.library for row in rows])[1]
    return any(row.is_missing and (is_listed or not row.library.is_bare) for row in rows)


def _show_matrix(
    args: argparse.Namespace | SimpleNamespace, rows: Sequence[Row], devices: Sequence[Device]
) -> bool:
    """Prints the matrix; says whether something is missing."""
    from vllm_nix.gpu.matrix import as_json, make_matrix, print_matrix

    matrix = make_matrix(rows, devices)
    if args.json:
        print(as_json(matrix, rows))
    else:
        print_matrix(matrix)
    return matrix.is_missing
