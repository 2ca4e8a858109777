"""Print or run the command that serves a profile of a target.

Without PROFILE, shows the target's profiles. Without --environment, prints the command in the words
of the target's vLLM release; with it, runs it there. Every value of the profile has an option that
goes before it; extra vLLM arguments come after `--`.

With --format, prints another program's configuration instead: nginx's, for one address before
several servers of the profile, each --replica HOST:PORT.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from vllm_nix.errors import InputError
from vllm_nix.paths import expand
from vllm_nix.serve import Profile, load_profile, nginx
from vllm_nix.serve.command import check_target_of, read_api_key, release_of
from vllm_nix.targets import load_target, profile_keys

TYPES: dict[str, Any] = {"string": str, "integer": int, "float": float}
PATHS = ("api-key-file", "download-dir")  # on a command line, from the current folder


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vllm-nix serve TARGET [PROFILE] [options] [-- extra vLLM arguments]"
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("profile", metavar="PROFILE", nargs="?")
    parser.add_argument(
        "--environment", type=Path, metavar="ENV", help="serve with this one's vLLM: ./result"
    )
    parser.add_argument("--print", action="store_true", help="print, with --environment as well")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--format", choices=("nginx",), help="print its configuration instead")
    parser.add_argument(
        "--replica",
        action="append",
        metavar="HOST:PORT",
        help="for nginx: a server to pass requests on to",
    )
    values = parser.add_argument_group("the profile's values")
    for key, spec in profile_keys().items():
        if key == "summary":
            continue
        if spec["type"] == "boolean":
            values.add_argument(f"--{key}", action=argparse.BooleanOptionalAction)
        elif spec["type"] in TYPES:
            form = spec.get("form", "")
            values.add_argument(
                f"--{key}",
                type=_path if key in PATHS else TYPES[spec["type"]],
                choices=spec.get("one-of"),
                help=form,
            )


def run(args: argparse.Namespace) -> int:
    if args.profile is None:
        return _show(args.target, args.json)
    overrides = {
        key: value
        for key in profile_keys()
        if (value := getattr(args, key.replace("-", "_"), None)) is not None
    }
    release = None
    if args.environment:
        check_target_of(args.environment, args.target)
        release = release_of(args.environment)
    profile = load_profile(
        args.target, args.profile, overrides, release=release, environment=args.environment
    )
    if args.replica and args.format != "nginx":
        raise InputError("--replica is nginx's: add --format nginx")
    if args.format == "nginx":
        print(nginx.render(profile, args.replica or ()), end="")
        return 0
    command = profile.command(getattr(args, "rest", ()))
    if args.environment and not (args.print or args.json):
        profile.check_folders()
        command.run(args.environment)
    if command.api_key_file.exists():
        read_api_key(command.api_key_file)
    print(json.dumps(command.to_json(), indent=2) if args.json else command.line())
    return 0


def _path(text: str) -> str:
    return str(expand(text).absolute())


def _show(target: str, as_json: bool) -> int:
    profiles = load_target(target).data.get("serve", {})
    if as_json:
        print(json.dumps(profiles, indent=2, sort_keys=True))
        return 0
    for name, values in sorted(profiles.items()):
        models = " with ".join(Profile("", "", "", "", values).models)
        print(f"{name:<12} {models}, port {values['port']}: {values.get('summary', '')}")
    return 0
