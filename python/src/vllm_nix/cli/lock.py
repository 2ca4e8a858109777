"""Write the lock files of a target's wheels.

TARGET is a target, or one of the embedded base's own sets (debian, debian-cuda, debian-cuda12,
debian-cuda12-libraries, debian-docs). What is locked already stays, so that a new requirement changes little;
--upgrade takes the newest of everything.

Wheels that a target builds from source are in no lock, but what they require is: Nix builds a folder
of them, and `lock TARGET --built result` reads it. Without one, the error says how.
"""

import argparse
from pathlib import Path

from vllm_nix.cli.parsers import word
from vllm_nix.data import TARGETS
from vllm_nix.errors import InputError
from vllm_nix.locks.lock import relock
from vllm_nix.locks.requirements import load_requirements
from vllm_nix.text import counted, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", metavar="TARGET", nargs="+")
    parser.add_argument(
        "--system", type=word, help="one Nix system instead of all that the target is for"
    )
    parser.add_argument(
        "--built", type=Path, metavar="DIR", help="the wheels that the target builds from source"
    )
    parser.add_argument("--upgrade", action="store_true", help="take the newest of everything")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a lock file would change"
    )


def run(args: argparse.Namespace) -> int:
    if not (args.check or TARGETS.is_symlink()):
        raise InputError(
            "lock files are written in a checkout of vllm-nix, by its own command (`make setup`"
            " makes it), and this is an installed one; --check works here as well"
        )
    plans = []
    for name in args.targets:
        requirements = load_requirements(name)
        for system in [args.system] if args.system else requirements.systems:
            plan = relock(requirements, system, upgrade=args.upgrade, built=args.built)
            plans.append((name, system, plan))
    outdated = [plan for _, _, plan in plans if not plan.is_current]
    for name, system, plan in plans:
        for line in plan.changes():
            print(printable(line))
        state = (
            "is current" if plan not in outdated else "would change" if args.check else "written"
        )
        print(
            f"{name} for {system}: {counted(len(plan.new.wheels), 'wheel')}, {plan.path.name} {state}"
        )
        if unsized := sum(wheel.size is None for wheel in plan.new.wheels):
            print(f"sizes unknown, the index has none: {unsized}; fetch, then lock again")
    if args.check:
        return int(bool(outdated))
    for plan in outdated:
        plan.write()
    return 0
