"""What an environment says of itself: the vLLM that it has, and the target that it is."""

import json
from pathlib import Path

from packaging.version import InvalidVersion, Version

from vllm_nix.errors import InputError


def release_of(environment: Path) -> str:
    """The vLLM release in an environment, without a local label. Raises `InputError`."""
    for info in sorted(environment.glob("lib/python3*/site-packages/vllm-*.dist-info")):
        text = info.name.removeprefix("vllm-").removesuffix(".dist-info")
        try:
            return Version(text).public
        except InvalidVersion:  # another distribution: vllm-something
            continue
    raise InputError(f"{environment} has no vLLM in lib/python3*/site-packages")


def check_target_of(environment: Path, target: str) -> None:
    """Checks that an environment which we built is that target's. Raises `InputError`."""
    manifest = environment / "share/vllm-nix/target.json"
    if not manifest.is_file():
        return  # somebody else's virtual environment
    try:
        built = json.loads(manifest.read_text(encoding="utf-8"))["target"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{manifest} is damaged: {error}") from error
    if built != target:
        raise InputError(f"{environment} is of target '{built}', not '{target}'")
