"""Show what this machine has, which target is for it, and which others almost are.

With --all, all targets there are; `*` marks those that are built on this kind of machine.
"""

import argparse
import json

from vllm_nix.targets.choice import Choice, Fit, best, choices
from vllm_nix.targets.detect import Machine, detect
from vllm_nix.text import print_row, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="all targets, in a list")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    machine = detect()
    found = choices(machine)
    if args.json:
        print(json.dumps([_row(choice, machine) for choice in found], indent=2))
    elif args.all:
        for choice in found:
            target = choice.target
            mark = "*" if target.builds_on(machine.system) else " "
            systems = ", ".join(target.systems)
            print_row(f"{mark} {target.name:<12} ", f"{target.summary} ({systems})")
    else:
        _show(machine, found)
    return 0


def _show(machine: Machine, found: tuple[Choice, ...]) -> None:
    print("This machine has")
    for line in machine.lines():
        print(printable(f"  {line}"))
    chosen = best(found)
    if chosen is None:
        print("\nNo target is for it yet. `vllm-nix targets --all` shows those there are, and")
        print("docs/targets.md how to add one.")
        return
    name, summary = chosen.target.name, chosen.target.summary
    print(printable(f"\nYour target is {name}: {summary}", "\n"))
    if chosen.fit is Fit.ALMOST:
        print(printable(f"  but {chosen.why}\n  {chosen.way}", "\n"))
    print(f"""
  vllm-nix fetch {name}
  nix build .#vllm-{name} --override-input nixpkgs path:./nix/debian

The first is not needed with nixpkgs' own packages: nix build .#vllm-{name}""")
    others = [choice for choice in found if choice.fit is not Fit.NO and choice is not chosen]
    for fit, title in ((Fit.YES, "This fits as well"), (Fit.ALMOST, "Almost")):
        if some := [choice for choice in others if choice.fit is fit]:
            print(f"\n{title}")
            for choice in some:
                print_row(f"  {choice.target.name:<12} ", choice.why or choice.target.summary)
                if choice.way:
                    print_row(f"  {'':<12} ", choice.way)


def _row(choice: Choice, machine: Machine) -> dict[str, object]:
    target = choice.target
    return {
        "name": target.name,
        "summary": target.summary,
        "systems": target.systems,
        "here": target.builds_on(machine.system),
        "fit": choice.fit,
        "why": choice.why,
        "way": choice.way,
    }
