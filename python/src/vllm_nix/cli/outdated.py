"""Say which newer releases the registry has of what targets pin.

For each, with the rows that nix/targets/rules.toml would need: a release of vLLM is resolved, and
names its torch. Without TARGET, all targets but those of another release, such as verl_0_7_3.
Nothing is written. docs/what-moved.md says how to go on.
"""

import argparse
import json
from dataclasses import asdict

from vllm_nix.locks.outdated import outdated
from vllm_nix.targets import load_target, target_names
from vllm_nix.text import printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", metavar="TARGET", nargs="*")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    names = args.targets or [name for name in target_names() if "_" not in name]
    targets = [load_target(name) for name in names]
    found = {target.name: list(outdated(target)) for target in targets}
    if args.json:
        print(json.dumps({name: list(map(asdict, rows)) for name, rows in found.items()}, indent=2))
        return 0
    for name, rows in found.items():
        if not rows:
            print(f"{name} has the newest of what it pins")
        for row in rows:
            print(printable(f"{name}: {row.name} {row.pinned} -> {row.newest}"))
            for line in row.rows:
                print(printable(f"  rules.toml: {line}"))
            if row.reason:
                print(printable(f"  {row.reason}"))
    return 0
