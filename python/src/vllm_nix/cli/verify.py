"""Check that an environment works here, and say how to fix what does not.

ENV is a Nix build (`result`), any virtual environment, or a site-packages folder alone. Nothing in
it is changed; what imports torch or vLLM runs in its own interpreter, offline and in time-limited
processes; with --quick nothing imports them, with --files-only nothing of it is run.
Exit status: 0 nothing failed, 1 something did, 2 wrong arguments, 3 its Python does not start, or
none of the checks could run here.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vllm_nix.cli.parsers import add_driver, seconds
from vllm_nix.errors import InputError
from vllm_nix.paths import check_writable, write_whole

TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    from vllm_nix.verification import Check, Result
    from vllm_nix.verification.run import Progress


def arguments(parser: argparse.ArgumentParser) -> None:
    from vllm_nix.verification import LIMIT

    parser.add_argument("env", metavar="ENV", nargs="?", type=Path, help="the environment's folder")
    parser.add_argument("--target", metavar="T", help="the target that it should be")
    parser.add_argument(
        "--for",
        dest="device",
        metavar="DEVICE",
        help="judge GPU code for a GPU: orin, RTX 5090, 8.7 ...",
    )
    add_driver(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--junit", type=Path, metavar="FILE", help="also write it as JUnit XML, for CI"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write it as a page")
    parser.add_argument(
        "--explain", metavar="CHECK", help="say what a check proves, and how; run nothing"
    )
    parser.add_argument(
        "--only", action="extend", nargs="+", default=[], metavar="CHECK", help="run these alone"
    )
    parser.add_argument(
        "--skip", action="extend", nargs="+", default=[], metavar="CHECK", help="leave these out"
    )
    parser.add_argument("--deep", action="store_true", help="hash files of the Nix store, too")
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument(
        "--quick", action="store_true", help="import neither torch nor vLLM: seconds"
    )
    depth.add_argument("--files-only", action="store_true", help="run nothing of the environment")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=LIMIT,
        metavar="S",
        help=f"seconds that a process may take to answer (default: {LIMIT:g})",
    )


def run(args: argparse.Namespace) -> int:
    from vllm_nix.verification import explain, verify

    if args.explain is not None:
        print(explain(args.explain))
        return 0
    if args.env is None:
        args.env = _swallowed(args.only) or _swallowed(args.skip)
    args.only, args.skip = _split(args.only), _split(args.skip)
    files = {"--junit": args.junit, "--html": args.html}
    for option, file in files.items():
        if file is not None:
            check_writable(option, file)
    if args.env is None:
        raise InputError("which environment? give its folder, such as ./result")
    if args.junit is not None and args.junit == args.html:
        raise InputError(f"--junit and --html both name {args.html}; give two files")
    with _shown(sys.stderr) as progress:
        report = verify(
            args.env,
            args.target,
            device=args.device,
            cuda=args.cuda,
            jetpack=args.jetpack,
            only=args.only,
            skip=args.skip,
            limit=args.timeout,
            deep=args.deep,
            files_only=args.files_only,
            quick=args.quick,
            progress=progress,
        )
    if args.junit is not None:
        from vllm_nix.verification.report import write_junit

        write_junit(report, args.junit)
    if args.html is not None:
        from vllm_nix.html.verify import verify_page

        write_whole("--html", args.html, verify_page(report).encode("utf-8"))
    if args.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        from vllm_nix.verification.report import print_report

        print_report(report)
    return report.exit_code


def _swallowed(checks: list[str]) -> Path | None:
    """The environment, if it came after a list of checks: `--only imports .venv`."""
    from vllm_nix.verification import CHECKS

    if not checks or checks[-1] in {check.id for check in CHECKS}:
        return None
    is_path = os.sep in checks[-1] or Path(checks[-1]).exists()
    return Path(checks.pop()) if is_path else None


def _split(checks: list[str]) -> list[str]:
    """At commas as well: `--only elf,record`. What is empty, as of a variable that is not set, stays: it is unknown."""
    return [one for word in checks for one in word.split(",") if one or not word.strip(",")]


@contextmanager
def _shown(stream: TextIO) -> Iterator["Progress"]:
    """A function for `verify(progress=...)`: which checks are running, in one line that is gone
    when they are done. It shows nothing unless `stream` is a terminal."""
    if not stream.isatty():
        yield lambda check, result: None
        return
    from rich.console import Console

    running: dict[str, None] = {}  # in the order of their start
    with Console(file=stream).status("verifying") as line:

        def progress(check: "Check", result: "Result | None") -> None:
            if result is None:
                running[check.id] = None
            else:
                running.pop(check.id)
            line.update(f"verifying: {', '.join(tuple(running))}")

        yield progress
