"""Fetch the source files of a target into the Nix store.

SET is a target (with the embedded base, unless --base nixpkgs), debian, debian-cuda, debian-cuda12,
debian-cuda12-libraries or debian-docs (parts of the embedded base), or vllm-sources (what vLLM is built from).
Wheels and source archives come through pip and packages through apt, as you configured them; what
the store has already is not fetched again, and a fetch that was cut off goes on where it stopped.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vllm_nix.cli.parsers import word
from vllm_nix.errors import InputError
from vllm_nix.fetching.fetch import (
    Progress,
    Result,
    check_origin,
    fetch,
    missing_sources,
    total_size,
)
from vllm_nix.fetching.sources import BASES, Source, Sources, load_sources
from vllm_nix.text import counted, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sets", metavar="SET", nargs="+")
    parser.add_argument("--system", type=word, help="for this Nix system instead of this machine's")
    parser.add_argument(
        "--base", choices=BASES, default="debian", help="(default: debian, the embedded one)"
    )
    parser.add_argument(
        "--from",
        dest="given",
        type=Path,
        metavar="DIR",
        help="take the files from this folder, without network",
    )
    parser.add_argument(
        "--mirror", type=word, metavar="URL", help="a Debian mirror instead of apt's own"
    )
    parser.add_argument(
        "--jobs", type=int, default=4, metavar="N", help="parallel downloads (default: 4)"
    )
    parser.add_argument("--list", action="store_true", help="only say what would be fetched")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs}: give a number of at least 1")
    sources = load_sources(args.sets, args.system, args.base)
    check_origin(args.mirror, args.given)
    if args.list:
        _print_list(sources, set(missing_sources(sources).files), args.json)
        return 0
    with _progress() as progress:
        result = fetch(
            sources, jobs=args.jobs, mirror=args.mirror, given=args.given, progress=progress
        )
    _print_result(result, args.json)
    return 0


def _print_list(sources: Sources, missing: set[Source], as_json: bool) -> None:
    if as_json:
        files = [_entry(source) | {"present": source not in missing} for source in sources.files]
        print(json.dumps({"exit_code": 0, "files": files}))
        return
    for source in sources.files:
        size = "?" if source.size is None else f"{source.size:,}"
        print(
            f"{'missing' if source in missing else 'have':7}  {size:>13}  {printable(source.file)}"
        )
    print(f"{len(missing)} of {len(sources.files)} missing, {total_size(missing) / 1e6:,.1f} MB")


def _print_result(result: Result, as_json: bool) -> None:
    if as_json:
        fetched = [_entry(source) for source in result.fetched]
        print(
            json.dumps(
                {
                    "exit_code": 0,
                    "fetched": fetched,
                    "present": result.present,
                    "bytes": result.size,
                    "seconds": round(result.seconds, 1),
                }
            )
        )
        return
    print(
        f"fetched {counted(len(result.fetched), 'file')}, {result.size / 1e6:,.1f} MB, in"
        f" {result.seconds:.1f} s; {result.present} were in the store"
    )


def _entry(source: Source) -> dict[str, object]:
    return {
        "file": source.file,
        "size": source.size,
        "sha256": source.sha256,
        "path": str(source.path),
    }


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, else a line every few seconds."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fetching", total=None)
        yield lambda now: bar.update(
            task,
            description=f"{now.files}/{now.total_files} files",
            completed=now.size,
            total=now.total_size,
        )


class _Lines:
    def __init__(self) -> None:
        self.next = time.monotonic() + 5

    def __call__(self, now: Progress) -> None:
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + 5
            text = f"{now.files} of {now.total_files} files, {now.size / 1e6:,.0f} of"
            print(f"{text} {now.total_size / 1e6:,.0f} MB", file=sys.stderr, flush=True)
