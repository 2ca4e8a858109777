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

Exit status: 0; 1 when something is damaged or missing; 2 when a path is not there or is not such a
file, or a device is unknown.
"""

import argparse
import sys
from pathlib import Path

from vllm_nix.gpu import report
from vllm_nix.gpu.libraries import read_path
from vllm_nix.text import printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or folder")
    parser.add_argument(
        "--for", dest="device", metavar="DEVICE", help="a GPU: orin, RTX 5090, 8.7 ..."
    )
    driver = parser.add_mutually_exclusive_group()
    driver.add_argument("--cuda", metavar="RELEASE", help="the device's driver's, such as 12.6")
    driver.add_argument("--jetpack", metavar="RELEASE", help="instead of --cuda, such as 6.2")
    parser.add_argument("--fatbins", action="store_true", help="list every fatbin")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    device = report.device_of(args.device, args.cuda, args.jetpack)
    libraries = [library for path in args.paths for library in read_path(path)]
    root = args.paths[0] if len(args.paths) == 1 else None
    judged = report.judge(libraries, device, root)
    if args.json:
        print(report.as_json(judged, device, args.fatbins))
    else:
        report.print_table(judged, device, args.fatbins)
        print(report.summary(judged, device))
    for library in libraries:
        if library.damage:
            more = f" (and {len(library.damage) - 1} more)" if len(library.damage) > 1 else ""
            text = printable(f"{library.path}: {library.damage[0]}{more}")
            print(f"vllm-nix: {text}", file=sys.stderr)
    return int(any(row.library.damage or row.is_missing for row in judged))
