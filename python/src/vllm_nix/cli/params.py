"""Show every parameter of a target's derivations.

`--format env` prints the exports of a build by hand, for `eval "$(vllm-nix params T --format env)"`.
--capabilities prints them for a fleet, as "7.5;8.0;8.6;8.7": without those that the target's CUDA does
not compile for, which are named on standard error. Such a build is by hand: a target itself is for
Jetsons or for other devices.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace

from vllm_nix.errors import InputError
from vllm_nix.gpu.capability import ComputeCapability, known
from vllm_nix.targets import Target, load_target
from vllm_nix.text import print_row, quoted


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument(
        "--format", choices=("table", "json", "env"), default="table", help="(default: table)"
    )
    parser.add_argument(
        "--capabilities", metavar="LIST", help="compute capabilities instead of the target's"
    )


def run(args: argparse.Namespace) -> int:
    target = load_target(args.target)
    if args.capabilities is not None:
        target = _for_fleet(target, args.capabilities)
    if args.format == "json":
        print(json.dumps(target.parameters(), indent=2, sort_keys=True))
    elif args.format == "env":
        for name, value in target.environment().items():
            print(f"export {name}={quoted(value)}")
    else:
        rows = dict(_rows("", target.parameters()))
        width = max(map(len, rows))
        for key, value in sorted(rows.items()):
            print_row(f"{key:<{width}}  ", value)
    return 0


def _for_fleet(target: Target, text: str) -> Target:
    """The target for other capabilities; those that its CUDA does not compile for are reported."""
    if "cuda" not in target.data:
        raise InputError(f"--capabilities: {target.name} is not for CUDA")
    cuda = target.data["cuda"]
    words = [word for word in re.split("[;, ]+", text) if word]
    asked = list(dict.fromkeys(map(ComputeCapability.parse, words)))
    for one in asked:
        if not one.is_known:
            names = ", ".join(map(str, known()))
            raise InputError(f"--capabilities: unknown capability '{one}'; there are: {names}")
    compiled = [one for one in asked if one.is_compiled_by(cuda["toolkit"])]
    for one in asked:
        if one not in compiled:
            print(
                f"vllm-nix: CUDA {cuda['toolkit']} does not compile for {one};"
                f" {one.compiled_by} can",
                file=sys.stderr,
            )
    if not compiled:
        raise InputError(f"--capabilities: CUDA {cuda['toolkit']} compiles for none of '{text}'")
    capabilities = list(map(str, compiled))
    return replace(target, data={**target.data, "cuda": {**cuda, "capabilities": capabilities}})


def _rows(prefix: str, table: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _rows(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", " ".join(value) if isinstance(value, list) else str(value)
