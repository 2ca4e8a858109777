"""Print or run the command that serves a profile of a target.

Without PROFILE, shows the target's profiles. Without --environment, prints the command in the words
of the target's vLLM release; with it, runs it there. Every value of the profile has an option that
goes before it; extra vLLM arguments come after `--`.

With --format, prints another program's configuration instead: nginx's, for one address before
several servers of the profile, each --replica HOST:PORT; or Kubernetes's, for the target's --image.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from vllm_nix.cli.parsers import path, seconds
from vllm_nix.errors import InputError
from vllm_nix.paths import expand
from vllm_nix.process import inherit_orphans
from vllm_nix.serve import Command, Profile, kubernetes, load_profile, nginx
from vllm_nix.serve.command import check_target_of, read_api_key, release_of
from vllm_nix.targets import load_target, profile_keys
from vllm_nix.text import print_row, printable

TYPES: dict[str, Any] = {"string": str, "integer": int, "float": float}
METAVARS = {"string": "TEXT", "integer": "N", "float": "X"}
# What they need besides the profile.
FORMATS = {
    "nginx": {"replica": "each server: --replica HOST:PORT"},
    "kubernetes": {
        "image": "the image that nodes pull: --image registry/vllm-cpu:0.32.0",
        "secret": "the Secret with the clients' key: --secret NAME, of kubectl create secret generic"
        " NAME --from-file=api-key=FILE",
    },
}
WAIT = "seconds for the other hosts to come (default: 300)"
PATHS = {"api-key-file": "FILE", "download-dir": "DIR"}  # here from the current folder


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vllm-nix serve TARGET [PROFILE] [options] [-- extra vLLM arguments]"
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("profile", metavar="PROFILE", nargs="?")
    parser.add_argument(
        "--environment", type=Path, metavar="ENV", help="serve with this one's vLLM: ./result"
    )
    parser.add_argument("--print", action="store_true", help="print, with --environment as well")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--format", choices=FORMATS, help="print its configuration instead")
    parser.add_argument(
        "--replica",
        action="append",
        metavar="HOST:PORT",
        help="for nginx: a server to pass requests on to",
    )
    parser.add_argument("--image", metavar="NAME", help="for Kubernetes: registry/vllm-cpu:0.32.0")
    parser.add_argument(
        "--secret", metavar="NAME", help="for Kubernetes: the Secret that has the clients' api-key"
    )
    several = parser.add_argument_group("of several hosts that serve together (--nodes)")
    several.add_argument(
        "--rank", type=int, metavar="R", help="this host's number, from 0, the head's"
    )
    several.add_argument("--head", metavar="HOST", help="the head's address for the others")
    several.add_argument("--wait", type=seconds, default=300, metavar="S", help=WAIT)
    values = parser.add_argument_group("the profile's values")
    for key, spec in profile_keys().items():
        if key == "summary":
            continue
        text = spec.get("help", spec.get("form"))
        if spec["type"] == "boolean":
            values.add_argument(f"--{key}", action=argparse.BooleanOptionalAction, help=text)
        elif spec["type"] in TYPES:
            values.add_argument(
                f"--{key}",
                type=_path if key in PATHS else TYPES[spec["type"]],
                choices=spec.get("one-of"),
                metavar=None if "one-of" in spec else PATHS.get(key, METAVARS[spec["type"]]),
                help=text,
            )


def run(args: argparse.Namespace) -> int:
    overrides = {
        key: value
        for key in profile_keys()
        if (value := getattr(args, key.replace("-", "_"), None)) is not None
    }
    if args.profile is None:
        if overrides or args.environment or args.format or args.rest:
            raise InputError(f"which profile? `vllm-nix serve {args.target}` shows them")
        return _show(args.target, args.json)
    _check_format(args)
    release = None
    if args.environment:
        check_target_of(args.environment, args.target)
        release = release_of(args.environment)
    profile = load_profile(
        args.target, args.profile, overrides, release=release, environment=args.environment
    )
    if args.format:
        print(_render(profile, args), end="")
        return 0
    here = bool(args.environment) and not (args.print or args.json)
    command = profile.command(args.rest, host=profile.host(args.rank, args.head, here=here))
    if here:
        profile.check_folders()
        if command.group is None:
            command.run(args.environment)
        inherit_orphans()
        command.run_in_group(args.environment, profile.facts(args.rest), args.wait, say)
    else:
        _print(command, args.json)
    return 0


def _check_format(args: argparse.Namespace) -> None:
    """What a format needs is there, and nothing that is for another."""
    for program, options in FORMATS.items():
        for option, needed in options.items():
            if getattr(args, option) and args.format != program:
                raise InputError(f"--{option} is for --format {program}")
            if args.format == program and not getattr(args, option):
                raise InputError(f"--format {program} needs {needed}")
    if args.format:
        for option in ("json", "rank", "head"):
            if (value := getattr(args, option)) is not None and value is not False:
                raise InputError(f"--{option} does not go with --format {args.format}")


def _print(command: Command, as_json: bool) -> None:
    if command.has_clients and os.path.exists(command.api_key_file):  # noqa: PTH110 -- and ours to see
        read_api_key(command.api_key_file)
    if command.group and command.group.address is None:
        names = "VLLM_HOST_IP, GLOO_SOCKET_IFNAME and the like"
        say(f"this is for another host than this one: {names} are left to be set there")
    print(json.dumps(command.to_json(), indent=2) if as_json else command.line())


def _render(profile: Profile, args: argparse.Namespace) -> str:
    if args.format == "nginx":
        if args.rest:
            raise InputError(f"{args.rest[0]} is for vLLM, which nginx does not start")
        return nginx.render(profile, args.replica)
    return kubernetes.render(profile, image=args.image, secret=args.secret, arguments=args.rest)


def say(text: str) -> None:
    print(f"vllm-nix: {printable(text)}", file=sys.stderr, flush=True)


def _path(text: str) -> str:
    return str(expand(path(text)).absolute())


def _show(target: str, as_json: bool) -> int:
    profiles = load_target(target).data.get("serve", {})
    if as_json:
        print(json.dumps(profiles, indent=2, sort_keys=True))
        return 0
    for name, values in sorted(profiles.items()):
        models = " with ".join(Profile("", "", "", "", values).models)
        summary = values.get("summary", "")
        print_row(f"{name:<12} ", f"{models}, port {values['port']}: {summary}")
    return 0
