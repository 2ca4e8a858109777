"""Download a profile's models, or any other by its name, to where profiles look for them.

PROFILE is a profile of the target, or a model's name such as Qwen/Qwen2.5-0.5B-Instruct. The client of
the model's hub downloads: the environment's own, or the one on the path. It goes on where it stopped.
VLLM_USE_MODELSCOPE=1 asks ModelScope instead of Hugging Face, as it does in vLLM.
"""

import argparse
import os
import re
from pathlib import Path

from vllm_nix.errors import InputError
from vllm_nix.paths import expand
from vllm_nix.serve import load_profile
from vllm_nix.serve.models import copy, download, is_whole, provided
from vllm_nix.targets import load_target, shared_profiles
from vllm_nix.text import printable

NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("profile", metavar="PROFILE")
    parser.add_argument(
        "--environment", type=Path, metavar="ENV", help="use this one's client: ./result"
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="copy from a folder, and download nothing",
    )
    parser.add_argument("--download-dir", type=Path, metavar="DIR", help="instead of the profile's")


def run(args: argparse.Namespace) -> int:
    models, downloads, variables = _wanted(args.target, args.profile)
    downloads = expand(args.download_dir or downloads).absolute()
    path = os.environ.get("PATH", "")
    if args.environment:
        if not (args.environment / "bin").is_dir():
            raise InputError(f"{args.environment} is not an environment: it has no bin")
        path = os.pathsep.join((str(args.environment.absolute() / "bin"), path))
    for model in models:
        if (folder := expand(model)).is_dir():
            if not is_whole(folder):
                raise InputError(
                    f"{model} is not a model's folder: it has no config.json, or not all weights"
                )
            place = folder
        elif not NAME.fullmatch(model):
            raise InputError(f"'{model}' is neither a folder here nor a model's name: owner/model")
        elif args.environment and (found := provided(args.environment, model)):
            place = found
        elif args.source:
            place = copy(args.source, model, downloads, alone=len(models) == 1)
        else:
            place = download(model, downloads, path, {**os.environ, **variables})
        print(printable(f"{model} is in {place}"))
    return 0


def _wanted(target: str, name: str) -> tuple[tuple[str, ...], Path, dict[str, str]]:
    """The models to have, their folder, and the variables of the profile."""
    if "/" in name and name not in load_target(target).data.get("serve", {}):
        return (name,), Path(shared_profiles()["common"]["download-dir"]), {}
    profile = load_profile(target, name)
    return profile.models, profile.downloads, dict(profile.values.get("env", {}))
