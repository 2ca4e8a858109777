"""Show the targets there are, those for this machine first."""

import argparse
import json
import platform

from vllm_nix.targets import Target, load_target, target_names


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    here = f"{platform.machine()}-linux"
    targets = sorted(
        (load_target(name) for name in target_names()),
        key=lambda target: not target.builds_on(here),
    )
    if args.json:
        print(json.dumps([_row(target, here) for target in targets], indent=2))
        return 0
    for target in targets:
        mark = "*" if target.builds_on(here) else " "
        print(f"{mark} {target.name:<10} {target.summary} ({', '.join(target.systems)})")
    print("\n* builds on this machine: nix build .#vllm-<target>")
    return 0


def _row(target: Target, here: str) -> dict[str, object]:
    return {
        "name": target.name,
        "summary": target.summary,
        "systems": target.systems,
        "here": target.builds_on(here),
    }
