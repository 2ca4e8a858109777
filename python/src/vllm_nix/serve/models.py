"""Models on this machine: found, downloaded by the hubs' own clients, or copied from a folder.

Each is a folder of the model's name below a profile's download folder, as its hub has it: whole or not
there. What a client has begun lies there too, without being taken for a model, and is gone on with.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from vllm_nix import scratch
from vllm_nix.binaries import files
from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.paths import expand, read_text, real, reason
from vllm_nix.process import run

# The clients by hub, newest first, and their words for a model and a folder.
CLIENTS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "huggingface": (
        ("hf", "download", "{model}", "--local-dir", "{folder}"),
        ("huggingface-cli", "download", "{model}", "--local-dir", "{folder}"),
    ),
    "modelscope": (("modelscope", "download", "--model", "{model}", "--local_dir", "{folder}"),),
}
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
# One of several, which an index beside them names: model-00001-of-00011.safetensors.
_SHARD = re.compile(r"-\d+-of-\d+[.]")


def hub(variables: Mapping[str, str]) -> str:
    """The hub that vLLM itself would ask, by its variable."""
    chosen = variables.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true")
    return "modelscope" if chosen else "huggingface"


def is_whole(folder: Path) -> bool:
    """Whether a folder has a model's configuration and all of its weights.

    Clients give a file its name when it is whole, so that only files can be missing.
    """
    if not os.path.isfile(folder / "config.json"):  # noqa: PTH113 -- nor one that is not ours to see
        return False
    indexes = list(folder.glob("*.index.json"))
    if not indexes:
        weights = [file for pattern in WEIGHTS for file in folder.glob(pattern) if file.is_file()]
        return bool(weights) and not any(_SHARD.search(file.name) for file in weights)
    return any(_has_all(folder, index) for index in indexes)


def provided(environment: Path, model: str) -> Path | None:
    """The folder of a model that comes with an environment built here, if it has it."""
    place = environment / "share/vllm-nix/models" / model
    return place.resolve() if is_whole(place) else None


def copy(source: Path, model: str, downloads: Path, *, alone: bool = True) -> Path:
    """Copies a model's folder to where profiles look for it; returns the place.

    `source` holds it as `<owner>/<name>` or `<name>`, or is the model's folder: of any name if the
    model comes `alone`. Nothing is left half-written. Raises `InputError`.
    """
    place = downloads / model
    if is_whole(place):
        return place
    name = place.name
    folders = [source / model, source / name]
    if alone or source.absolute().name == name:
        folders.append(source)
    folder = next(filter(is_whole, folders), None)
    if folder is None:
        where = "" if alone else f", in a folder {name}"
        raise InputError(
            f"{source} has no whole {model}: a config.json and the weights beside it{where}"
        )
    if real(place).is_relative_to(real(folder)):
        raise InputError(
            f"{place} is inside of {folder}, which is to be copied; name another --download-dir"
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Beside it: a folder that is read-only can be renamed, but not moved into another.
        with _part(place) as part, _part(place) as begun:
            shutil.copytree(
                folder, part, ignore=_no_links, copy_function=files.copy, dirs_exist_ok=True
            )
            if not is_whole(place):
                with suppress(FileNotFoundError):
                    place.rename(begun)  # by a client, and never ended
                part.rename(place)
    except OSError as error:
        if is_whole(place):
            return place  # somebody else copied it meanwhile
        # copytree gathers what went wrong, file by file.
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else reason(error)
        raise InputError(
            f"{place} cannot be written: {why}; name another --download-dir"
        ) from error
    return place


def _no_links(folder: str, names: list[str]) -> list[str]:
    """Nothing to ignore; but a link to a folder could lead to all of the machine, or around."""
    for name in names:
        path = Path(folder, name)
        if path.is_symlink() and path.is_dir():
            raise InputError(f"{path} is a link to a folder; put what it leads to in its place")
    return []


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
        result = run(command, environment={**variables, "PATH": path}, shown=True)
    except OSError as error:
        raise InputError(
            f"{place} cannot be written: {reason(error)}; name another --download-dir"
        ) from error
    name = Path(command[0]).name
    if result.end:
        raise Error(
            f"{name} could not download {model} ({result.end}), see above; what it has is kept in {place}, and the"
            " same command goes on with it"
        )
    if not is_whole(place):
        raise Error(f"{name} left no whole model in {place}: weights are missing; is it a model?")
    return place


def _part(place: Path) -> AbstractContextManager[Path]:
    return scratch.folder(*scratch.names_beside(place), place.parent)


def _client(model: str, place: Path, path: str, hub: str) -> list[str]:
    for name, *words in CLIENTS[hub]:
        if program := shutil.which(name, path=path):
            return [program, *(word.format(model=model, folder=place) for word in words)]
    names = " or ".join(client[0] for client in CLIENTS[hub])
    raise Unavailable(
        f"no {names} here to download {model} with; give an environment that has it:"
        " --environment ./result, or a folder that has the model: --from DIR"
    )


def _has_all(folder: Path, index: Path) -> bool:
    try:
        names = set(json.loads(read_text(index))["weight_map"].values())
        files = [folder / name for name in names]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):  # damaged
        return False
    return bool(files) and all(file.is_file() for file in files)


def check_sizes(values: Mapping[str, Any]) -> None:
    """Checks that a profile's draft model is the smaller one: else it makes everything slower.

    That can be said if both models are folders, or else both names say their size.

    Raises `InputError`.
    """
    if "draft-model" not in values:
        return
    model, draft = values["model"], values["draft-model"]
    for measure, form in ((weights, "{:.3g} GB"), (parameters, "{:g}B parameters")):
        ours, its = measure(model), measure(draft)
        if ours is None or its is None:
            continue
        if its > ours:
            raise InputError(
                f"the draft model {draft} ({form.format(its)}) is larger than the model"
                f" {model} ({form.format(ours)}); give a smaller --draft-model"
            )
        return


def weights(model: str) -> float | None:
    """The weight files of a model's folder in GB; None if it is no folder that has some."""
    folder = expand(model)
    if not folder.is_dir():
        return None  # a name, of any characters
    files = [file for pattern in WEIGHTS for file in folder.glob(pattern)]
    return sum(file.stat().st_size for file in files) / 1e9 or None


def parameters(model: str) -> float | None:
    """The billions of parameters that a model's name says, such as 0.5 of ``Qwen2.5-0.5B``."""
    found = re.findall(
        r"(?<![A-Za-z0-9.])([0-9]+(?:[.][0-9]+)?)([BM])(?![A-Za-z0-9])",
        Path(model).name,
        re.IGNORECASE,
    )
    sizes = [float(number) / (1 if unit in "bB" else 1000) for number, unit in found]
    return max(sizes, default=None)


def check_division(values: Mapping[str, Any], folder: Path | None) -> None:
    """Checks that a model can be cut into as many parts as a profile says, as its configuration has it.

    That can be said if its folder is known. Raises `InputError`.
    """
    tensors, stages = values.get("tensor-parallel-size", 1), values.get("pipeline-parallel-size", 1)
    if folder is None or tensors == stages == 1:
        return
    try:
        config = json.loads(read_text(folder / "config.json"))
        config = config.get("text_config") or config
        heads, groups, layers = (config.get(key) for key in _PARTS)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{folder / 'config.json'} is damaged: {error}") from error
    model = values["model"]
    if isinstance(heads, int) and heads % tensors:
        raise InputError(
            f"the {heads} attention heads of {model} cannot be shared by"
            f" tensor-parallel-size {tensors}; it must divide them"
        )
    if isinstance(groups, int) and groups > 0 and groups % tensors and tensors % groups:
        raise InputError(
            f"the {groups} key-value heads of {model} cannot be shared by"
            f" tensor-parallel-size {tensors}; one must divide the other"
        )
    if isinstance(layers, int) and layers < stages:
        raise InputError(
            f"the {layers} layers of {model} are fewer than pipeline-parallel-size {stages}"
        )


_PARTS = ("num_attention_heads", "num_key_value_heads", "num_hidden_layers")
