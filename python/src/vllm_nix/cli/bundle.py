"""Write an environment and all that it needs to one file, for machines without Nix or a network.

ENV is what `nix build` built. FILE ends in .tar.zst, or in .tar.xz for a machine without zstd. Beside it
come SHA256SUMS, for `sha256sum -c`, and unpack.sh, which checks the bundle and overwrites nothing. The
machine needs tar and zstd or xz, and no more:

  vllm-nix bundle result -o usb/vllm.tar.zst --split 2G
  sh unpack.sh && /opt/vllm-cpu/bin/vllm --version            there
  cat vllm.tar.zst* | zstd -dc | tar -x -C /                  the same by hand

The same closure gives the same bytes, with the same zstd, on any machine. An interrupted run leaves
FILE.partial; the same command goes on from there.

Exit status: 0; 1 when the store is damaged; 2 when ENV is not in the store or FILE is there; 3 when the
disk is full, or Nix or zstd is missing.
"""

import argparse
import sys
import time
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("environment", type=Path, metavar="ENV")
    parser.add_argument(
        "-o", dest="out", type=Path, required=True, metavar="FILE", help="the bundle to write"
    )
    parser.add_argument(
        "--split", metavar="SIZE", help="write FILE.0000, FILE.0001 ... of this size, such as 2G"
    )
    parser.add_argument(
        "--store-paths",
        type=Path,
        metavar="LIST",
        help="a file with the closure, a path a line, where Nix cannot be asked, as in a build",
    )


def run(args: argparse.Namespace) -> int:
    from vllm_nix.bundle import split_size, write_bundle
    from vllm_nix.errors import InputError
    from vllm_nix.paths import read_text
    from vllm_nix.text import counted, printable

    paths = None
    if args.store_paths:
        try:
            text = read_text(args.store_paths, or_pipe=True)  # as <(nix-store -qR ENV) is
            paths = [Path(line) for line in text.splitlines()]
        except OSError as error:
            raise InputError(f"--store-paths {args.store_paths}: {error.strerror}") from None
        except ValueError as error:
            raise InputError(f"--store-paths {args.store_paths} is not a text: {error}") from None
    started = time.monotonic()
    done = write_bundle(
        args.environment,
        args.out,
        split=None if args.split is None else split_size(args.split),
        paths=paths,
        progress=_show if sys.stderr.isatty() else lambda _done, _total: None,
    )
    kept = f", {done.kept / 1e6:.1f} MB of it from before" if done.kept else ""
    print(
        f"{done.before / 1e6:.1f} MB -> {done.after / 1e6:.1f} MB{kept}, "
        f"{counted(len(done.parts), 'file')}, {time.monotonic() - started:.1f} s\n"
        f"{printable(args.out.parent / 'unpack.sh')} unpacks to {done.link}"
    )
    return 0


def _show(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done / 1e6:10.1f} of {total / 1e6:.1f} MB", end=end, file=sys.stderr, flush=True)
