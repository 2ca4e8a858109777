"""Show every parameter of a target's derivations.

`--format env` prints the exports of a build by hand, for `eval "$(vllm-nix params T --format env)"`.
"""

import argparse
import json
import shlex
from collections.abc import Iterator, Mapping

from vllm_nix.targets import load_target


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target")
    parser.add_argument("--format", choices=("table", "json", "env"), default="table")


def run(args: argparse.Namespace) -> int:
    target = load_target(args.target)
    if args.format == "json":
        print(json.dumps(target.parameters(), indent=2, sort_keys=True))
    elif args.format == "env":
        for name, value in target.environment().items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        rows = dict(_rows("", target.parameters()))
        width = max(map(len, rows))
        for key, value in sorted(rows.items()):
            print(f"{key:<{width}}  {value}")
    return 0


def _rows(prefix: str, table: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _rows(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", " ".join(value) if isinstance(value, list) else str(value)
