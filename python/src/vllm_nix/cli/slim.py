"""Remove the GPU code that the named devices never run from libraries.

PATH is a shared library, a wheel, or a folder such as an environment. Of each fatbin, what the devices
run stays: code for a device, else for a related one, else the best PTX; zstd compresses what was not
compressed. Without --out, says what would be saved. Each new library is read again and loaded before
it replaces anything; what is not understood in full stays as it is, and is named with the reason.

  vllm-nix slim result --for a6000
  vllm-nix slim torch-2.14.0-cp311-cp311-manylinux_2_28_x86_64.whl --for 8.6 --out slim/
  vllm-nix slim .venv --for a6000 --for l4 --out .venv    in place

Slimming runs no GPU code, but loading runs the libraries' own initialization. NVIDIA's licences of
cuBLAS, cuDNN and others forbid to pass on a changed copy: see docs/slim.md.

Exit status: 0; 2 when PATH is not such a file or folder, is damaged or signed, was slimmed for other
devices, or holds nothing that a device runs; 3 when the disk is full or a file cannot be replaced.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vllm_nix.cli.parsers import add_driver
from vllm_nix.gpu.compression import program
from vllm_nix.gpu.slim import Slimmed
from vllm_nix.text import printable, unicode


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH")
    parser.add_argument(
        "--for",
        dest="devices",
        action="append",
        required=True,
        metavar="DEVICE",
        help="orin, 8.7, a6000 ...; may be given several times",
    )
    add_driver(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write here; PATH: in place")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from vllm_nix.gpu.device import device
    from vllm_nix.gpu.slim_tree import slim_path

    devices = [device(name, args.cuda, args.jetpack) for name in args.devices]
    found = slim_path(args.path, devices, args.out, (lambda _: None) if args.json else _line)
    if args.json:
        print(_as_json(found, args))
    else:
        print(_summary(found, written=args.out is not None))
    return 0


def _line(one: Slimmed) -> None:
    name = printable(one.path)
    if one.is_slimmed:
        print(f"{_mb(one.before)} -> {_mb(one.after)}  {name}", flush=True)
    else:
        print(f"vllm-nix: {name} stays as it is: {printable(one.why)}", file=sys.stderr)


def _mb(size: int) -> str:
    return f"{size / 1e6:8.1f} MB"


def _summary(found: Sequence[Slimmed], *, written: bool) -> str:
    slim = [one for one in found if one.is_slimmed]
    before, after = sum(one.before for one in found), sum(one.after for one in found)
    verb = "slimmed" if written else "would be slimmed"
    text = f"{_mb(before)} -> {_mb(after)}  {len(slim)} of {len(found)} {verb}"
    unloaded = sum(one.loads is None for one in slim)
    if written and unloaded:
        text += f"; {unloaded} not tried: not even the original loads here"
    if program() is None:
        text += "; zstd is not in PATH: nothing was compressed"
    return text


def _as_json(found: Sequence[Slimmed], args: argparse.Namespace) -> str:
    rows = [
        {
            "path": unicode(one.path),
            "before": one.before,
            "after": one.after,
            "slimmed": one.is_slimmed,
            "why": one.why,
            "serves": [str(device.capability) for device in one.serves],
            "loads": one.loads,
        }
        for one in found
    ]
    total = {"before": sum(one.before for one in found), "after": sum(one.after for one in found)}
    return json.dumps({"schema": 1, "written": args.out is not None, **total, "libraries": rows})
