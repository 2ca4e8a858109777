"""Models on this machine: found, downloaded by the hubs' own clients, or brought by hand.

Each is a folder of the model's name below a profile's download folder, as its hub has it: whole or not
there. What a client has begun lies there too, without being taken for a model, and is gone on with.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from vllm_nix.errors import Error, InputError, Unavailable

# The clients by hub, newest first, and their words for a model and a folder.
CLIENTS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "huggingface": (
        ("hf", "download", "{model}", "--local-dir", "{folder}"),
        ("huggingface-cli", "download", "{model}", "--local-dir", "{folder}"),
    ),
    "modelscope": (("modelscope", "download", "--model", "{model}", "--local_dir", "{folder}"),),
}
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")


def hub(variables: Mapping[str, str]) -> str:
    """The hub that vLLM itself would ask, by its variable."""
    chosen = variables.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true")
    return "modelscope" if chosen else "huggingface"


def is_whole(folder: Path) -> bool:
    """Whether a folder has a model's configuration and all of its weights.

    Clients give a file its name when it is whole, so that only files can be missing.
    """
    if not (folder / "config.json").is_file():
        return False
    indexes = list(folder.glob("*.index.json"))
    if not indexes:
        return any(file.is_file() for pattern in WEIGHTS for file in folder.glob(pattern))
    return any(_has_all(folder, index) for index in indexes)


def bring(source: Path, model: str, downloads: Path) -> Path:
    """Copies a model's folder to where profiles look for it; returns the place.

    `source` is the model's folder, or holds it as `<owner>/<name>` or `<name>`. Nothing is left
    half-written. Raises `InputError`.
    """
    owner_and_name = Path(model)
    for folder in (source / owner_and_name, source / owner_and_name.name, source):
        if is_whole(folder):
            break
    else:
        raise InputError(f"{source} has no whole {model}: a config.json and the weights beside it")
    place = downloads / model
    if is_whole(place):
        return place
    part = place.with_name(f".{place.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, part)
        if place.is_dir():
            shutil.rmtree(place)  # begun by a client, and never ended
        part.rename(place)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        # copytree gathers what went wrong, file by file.
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        raise InputError(f"{place} cannot be written: {reason}") from error
    return place


def download(model: str, downloads: Path, path: str, variables: Mapping[str, str]) -> Path:
    """Downloads a model, or the rest of it, by its hub's client on `path`; returns the place.

    `variables` are the client's environment: mirrors, tokens and proxies are its own. Raises `Error`
    and its kinds.
    """
    place = downloads / model
    if is_whole(place):
        return place
    command = _client(model, place, path, hub(variables))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        result = subprocess.run(command, env={**variables, "PATH": path}, check=False)
    except OSError as error:
        raise InputError(f"{place} cannot be written: {error.strerror}") from error
    name = Path(command[0]).name
    if result.returncode:
        raise Error(
            f"{name} could not download {model}, see above; what it has is kept in {place}, and the"
            " same command goes on with it"
        )
    if not is_whole(place):
        raise Error(f"{name} left no whole model in {place}: weights are missing; is it a model?")
    return place


def _client(model: str, place: Path, path: str, hub: str) -> list[str]:
    for name, *words in CLIENTS[hub]:
        if program := shutil.which(name, path=path):
            return [program, *(word.format(model=model, folder=place) for word in words)]
    names = " or ".join(client[0] for client in CLIENTS[hub])
    raise Unavailable(
        f"no {names} here to download {model} with; give an environment that has it:"
        " --environment ./result, or bring the model: --from DIR"
    )


def _has_all(folder: Path, index: Path) -> bool:
    try:
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return all((folder / os.fspath(file)).is_file() for file in files)
