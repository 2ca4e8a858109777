"""What hosts that serve together must have alike, as facts by their keys, and where two differ."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vllm_nix.errors import InputError
from vllm_nix.paths import read_text
from vllm_nix.text import counted

Facts = Mapping[str, str]

# What is named first of many differences.
_FIRST = ("target", "system", "python", "vllm", "torch", "ray")
_SHOWN = 3
# Of a manifest: what says nothing of what runs. The profile that is served is compared by itself.
_UNUSED = ("parameters.serve.", "parameters.summary", "wheels.")
_READ = frozenset(".safetensors .bin .pt .gguf .json .jinja .model .py .tiktoken .txt".split())
_WHOLE = 1 << 20  # bytes up to which all of a file is read
_SAMPLES, _SAMPLE = 64, 4096  # pieces of a larger one, spread evenly, and the bytes of each


def of_environment(environment: Path) -> dict[str, str]:
    """What is installed, and of an environment that was built here how. Raises `InputError`."""
    facts = {}
    for info in environment.glob("lib/python3*/site-packages/*.dist-info"):
        name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
        facts[name.lower().replace("_", "-")] = version
    facts |= _python(environment / "pyvenv.cfg")
    file = environment / "share/vllm-nix/target.json"
    if not file.is_file():
        return facts  # somebody else's virtual environment
    try:
        manifest = json.loads(read_text(file))
        facts |= {f"wheel of {wheel['name']}": wheel["path"] for wheel in manifest["wheels"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{file} is damaged: {error}") from error
    return facts | {k: v for k, v in _flat(manifest) if not k.startswith(_UNUSED)}


def of_model(role: str, folder: Path | None, name: str) -> dict[str, str]:
    """A model's files by what is in them; one that is not on the host, by its name."""
    if folder is None:
        return {role: name}
    files = (file for file in folder.rglob("*") if file.suffix in _READ and file.is_file())
    return {
        f"{file.relative_to(folder)} of the {role}": _digest(file)
        for file in files
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    }


def differences(ours: Facts, theirs: Facts) -> list[str]:
    """The keys whose facts differ, those that say most first."""
    keys = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
    rank = {key: i for i, key in enumerate(_FIRST)}
    return sorted(
        keys, key=lambda key: (rank.get(key, len(rank)), key.startswith("wheel of "), key)
    )


def sentence(keys: Sequence[str], one: tuple[str, Facts], other: tuple[str, Facts]) -> str:
    """In what two hosts differ, each given by its name and facts."""
    (name, facts), (other_name, other_facts) = one, other
    shown = [
        f"{_fact(key, facts)} where {other_name} has {_fact(key, other_facts)}"
        for key in keys[:_SHOWN]
    ]
    more = len(keys) - len(shown)
    rest = f", and {counted(more, 'other difference')}" if more else ""
    return f"{name} has {'; '.join(shown)}{rest}"


def _python(config: Path) -> dict[str, str]:
    """The Python of a virtual environment, as its configuration says."""
    try:
        lines = [line.partition("=") for line in read_text(config).splitlines()]
    except (OSError, ValueError):
        return {}
    said = {key.strip(): value.strip() for key, _, value in lines}
    version = said.get("version_info") or said.get("version")
    return {"python": version} if version else {}


def _fact(key: str, facts: Facts) -> str:
    return f"{key[:100]} {facts[key][:200]}" if key in facts else f"no {key[:100]}"


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested objects, by their paths."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        for i, part in enumerate(value):
            yield from _flat(part, f"{key}.{i}")
    else:
        yield key, value if isinstance(value, str) else json.dumps(value)


def _digest(file: Path) -> str:
    """A file's size, and a digest of it: of a large one by samples, which differ between checkpoints."""
    size = file.stat().st_size
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        if size <= _WHOLE:
            digest.update(stream.read())
        else:
            for i in range(_SAMPLES):
                stream.seek((size - _SAMPLE) * i // (_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE))
    return f"{digest.hexdigest()[:16]} ({size} bytes)"
