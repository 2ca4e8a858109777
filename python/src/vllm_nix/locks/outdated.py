"""What moved: newer releases of what a target pins, and the rows of rules.toml that they would need."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from vllm_nix.errors import Error, Unavailable
from vllm_nix.locks.registry import NO_NETWORK, pip_command
from vllm_nix.locks.requirements import target_requirements
from vllm_nix.locks.resolve import Unsolvable, resolve
from vllm_nix.process import ask
from vllm_nix.targets import Target, rules

_LIMIT = 300.0  # seconds, for one question to a registry


@dataclass(frozen=True, slots=True)
class Newer:
    """A package that a target pins, of which the registry has a newer release.

    `rows` are lines for rules.toml, such as ``[torch-of.vllm] "0.34.0" = "2.15.0"``; `reason` says
    why there is none where one is needed.
    """

    name: str
    pinned: str
    newest: str
    rows: tuple[str, ...] = ()
    reason: str = ""


def outdated(target: Target) -> Iterator[Newer]:
    """What a target pins and the registry, as pip is configured, has a newer release of.

    torch is not asked for: vLLM says which it wants, and torch which Triton and CUDA.
    Raises `Unavailable` without pip or a network.
    """
    for name, pinned in pins(target).items():
        found = newest(name)
        if found and Version(found) > Version(pinned):
            yield _with_rows(target, Newer(name, pinned, found))


def pins(target: Target) -> dict[str, str]:
    """The packages of the registry that a target names by release, and those releases."""
    wanted = [Requirement(text) for text in target.requirements()]
    found = {one.name: _release(one) for one in wanted if len(one.specifier) == 1}
    found |= {name: target.release(name) for name in target.components()}
    vllm = target.data["vllm"]
    found[vllm["distribution"]] = vllm["version"]
    for follower in (
        "torch",
        "triton",
        "cuda-toolkit",
        *target.data.get("neuron", {}).get("wheels", ()),
    ):
        found.pop(follower, None)
    return {name: release for name, release in sorted(found.items()) if release}


def newest(name: str) -> str | None:
    """The newest release of a package where pip looks, wheels or not; None if it has none."""
    result = ask([*pip_command(), "index", "versions", "--", name], limit=_LIMIT)
    if result.status:
        said = " ".join(result.stderr.split())
        if NO_NETWORK.search(said):
            raise Unavailable(
                f"no network: pip cannot reach its index for {name}; `pip config list` shows what it is"
                " configured with"
            )
        if "No matching distribution" in said:
            return None
        raise Unavailable(f"cannot ask for releases of {name}: {said[-300:]}")
    first = next(iter(result.stdout.splitlines()), "")
    release = re.fullmatch(r"\S+ \((\S+)\)", first)
    try:
        return str(Version(release[1])) if release else None
    except ValueError:
        return None


def _release(requirement: Requirement) -> str:
    [specifier] = requirement.specifier
    return specifier.version if specifier.operator == "==" else ""


def _with_rows(target: Target, found: Newer) -> Newer:
    vllm = target.data["vllm"]
    if found.name == "vllm-ascend":
        row = f'[vllm-ascend."{found.newest}"] of its table of versions: vllm, torch, cann'
        return replace(found, rows=(row,))
    if found.name != vllm["distribution"] or vllm["device"] in rules()["pure-devices"]:
        return found
    try:
        return replace(found, rows=tuple(_rows(found, _resolved(target, found))))
    except Unsolvable as error:
        return replace(found, reason=str(error))


def _resolved(target: Target, found: Newer) -> Mapping[str, str]:
    """What a release of vLLM resolves to in the place of the target's, package by package."""
    requirements = replace(
        target_requirements(target),
        name=f"{found.name} {found.newest}",
        require=(f"{found.name}=={found.newest}",),
        before="",
    )
    packages: Iterable[Mapping[str, Any]] = resolve(requirements, target.systems[-1])
    return {package["name"]: package["version"] for package in packages}


def _rows(found: Newer, resolved: Mapping[str, str]) -> Iterator[str]:
    table = rules()
    if "torch" not in resolved:
        raise Error(f"{found.name} {found.newest} asks for no torch")
    torch = Version(resolved["torch"]).public
    if table["torch-of"].get(found.name, {}).get(found.newest) != torch:
        yield f'[torch-of.{found.name}] "{found.newest}" = "{torch}"'
    if "triton" in resolved and table["triton-of"].get(torch) != resolved["triton"]:
        yield f'[triton-of] "{torch}" = "{resolved["triton"]}"'
