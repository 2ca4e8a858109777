"""Resolution by uv: from requirements to every suitable wheel of every package."""

import re
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from vllm_nix import scratch
from vllm_nix.errors import Error, Unavailable
from vllm_nix.locks.pylock import Lock
from vllm_nix.locks.registry import pip_configuration, uv_environment, uv_options
from vllm_nix.locks.requirements import Requirements
from vllm_nix.process import ask
from vllm_nix.since_311 import tomllib

_LIMIT = 3600.0  # seconds; where an index lacks metadata, uv downloads whole wheels for it


class Unsolvable(Error):
    """No versions fit the requirements; `said` is all that uv says about it."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        words = re.findall(r"[\w.-]+", said.partition(" hint: ")[0])
        self.words: frozenset[str] = frozenset(word.strip(".") for word in words)


def resolve(
    requirements: Requirements, system: str, old: Lock | None = None
) -> list[dict[str, Any]]:
    """The packages of a lock (PEP 751) as uv writes it, with addresses, for one system.

    The versions of the `old` lock stay, but for those that uv names in what contradicts the
    requirements. Packages come from where the user's pip looks; a set's own indexes are asked only
    if that was not enough. Raises `Unsolvable`, and `Unavailable` without uv or a network.
    """
    own = requirements.indexes_for(system)  # what they hold is required by its version
    locked = old.wheels if old else ()
    pins = {wheel.name: wheel.version for wheel in locked if wheel.name not in own}
    while True:
        try:
            # Not as uv's preferences: it drops one of which the first index has no fitting wheel.
            return _ask_indexes(requirements, system, pins)
        except Unsolvable as error:
            moved = pins.keys() & error.words
            if not moved:
                raise
            pins = {name: pins[name] for name in pins.keys() - moved}


def _ask_indexes(
    requirements: Requirements, system: str, pins: Mapping[str, str]
) -> list[dict[str, Any]]:
    index = requirements.indexes_for(system)
    try:
        return _compile(requirements, system, pins, {})
    except Unsolvable as error:
        if not index.keys() & error.words:
            raise
    return _compile(requirements, system, pins, index)


def _compile(
    requirements: Requirements, system: str, pins: Mapping[str, str], index: Mapping[str, str]
) -> list[dict[str, Any]]:
    configuration = pip_configuration()
    machine = system.removesuffix("-linux")
    with scratch.folder("vllm-nix-lock-") as folder:
        lock = folder / "pylock.toml"
        (folder / "pyproject.toml").write_text(_project(requirements, index), encoding="utf-8")
        (folder / "overrides.txt").write_text(_overrides(requirements), encoding="utf-8")
        constraints = "\n".join(f"{name}=={version}" for name, version in pins.items())
        (folder / "pins.txt").write_text(constraints, encoding="utf-8")
        command = [
            *(_uv(), "pip", "compile", "pyproject.toml", "--quiet", "--generate-hashes"),
            *("--format", "pylock.toml", "--output-file", lock.name),
            *("--override", "overrides.txt", "--constraint", "pins.txt"),
            *("--only-binary", ":all:"),
            *("--python", sys.executable, "--python-version", requirements.python),
            *("--python-platform", f"{machine}-{requirements.platform}"),
            *(("--exclude-newer", requirements.before) if requirements.before else ()),
            *uv_options(configuration),
        ]
        result = ask(command, variables=uv_environment(configuration), folder=folder, limit=_LIMIT)
        if result.status:
            said = " ".join(result.stderr.split())
            message = f"cannot lock {requirements.name} for {system}: {_reason(said)}"
            if "error sending request" in said:
                raise Unavailable(message)
            raise Unsolvable(message, said)
        packages: list[dict[str, Any]] = tomllib.loads(lock.read_text("utf-8"))["packages"]
        return packages


def _project(requirements: Requirements, index: Mapping[str, str]) -> str:
    # A project rather than a list: only there can uv take one package from one index.
    lines = ["[project]", 'name = "lock"', 'version = "0"']
    lines += [f'requires-python = "=={requirements.python}.*"']
    lines += [f"dependencies = {list(requirements.require)!r}"]
    for name, url in index.items():
        lines += ["[[tool.uv.index]]", f"name = {name!r}", f"url = {url!r}", "explicit = true"]
    lines += ["[tool.uv.sources]", *(f"{name} = {{ index = {name!r} }}" for name in index)]
    return "\n".join(lines)


def _overrides(requirements: Requirements) -> str:
    never = [f"{name} ; sys_platform == 'never'" for name in requirements.exclude]
    return "\n".join([*requirements.override, *never])


def _uv() -> str:
    try:
        import uv

        return uv.find_uv_bin()
    except (ImportError, FileNotFoundError):
        pass
    if program := shutil.which("uv"):
        return program
    raise Unavailable("uv, which resolves locks, is missing; pip install uv")


# uv's words for a package of which only unfitting wheels or source distributions remain.
# Whole words, so that the time stays linear.
_NO_WHEEL = re.compile(
    r"(?<!\S)([\w.-]\S*) has no (?:usable )?wheels|Wheels are required for `([^`]+)`"
)
_NAME = re.compile(r"[\w.-]+")


def _reason(said: str) -> str:
    # Markers, in braces, say nothing about one platform.
    text = re.sub(r"\{[^{}]*\}", "", said)
    if found := _NO_WHEEL.search(text):
        name = found[2] or _NAME.findall(found[1])[0]
        return (
            f"no wheel of {name} fits this Python and platform, and source"
            " distributions are not built here; pin a release that has one in [wheels] override,"
            " or raise [wheels] platform"
        )
    return text.partition(" hint: ")[0].partition("error: ")[2] or text
