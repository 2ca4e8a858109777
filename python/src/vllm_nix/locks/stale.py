"""Whether a lock is still what its set asks for: it may be older than the set's last change.

`nix/wheels/stale.nix` says the same in the same words, but that it reads no versions other than ``==``.
"""

from collections.abc import Iterator, Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from vllm_nix.errors import InputError
from vllm_nix.locks.pylock import Lock
from vllm_nix.locks.requirements import Requirements


def stale(requirements: Requirements, lock: Lock, place: object) -> Iterator[str]:
    """What the lock has otherwise, a sentence each, which call it `place`. Raises `InputError`."""
    locked = {wheel.name: wheel.version for wheel in lock.wheels}

    def sentence(name: str, clause: str) -> str:
        found = f"{name} {locked[name]}" if name in locked else f"no {name}"
        return f"{place} has {found}, {clause}; run: vllm-nix lock {requirements.name}"

    unwanted = [*requirements.made, *map(canonicalize_name, requirements.exclude)]
    for name in unwanted:
        if name in locked:
            yield sentence(name, f"which {requirements.name} makes itself or leaves out")
    override = [_parse(requirements, text) for text in requirements.override]
    settled = {*unwanted, *(_name(each) for each in override)}
    asked = [_parse(requirements, text) for text in requirements.require]
    for each in (
        *(each for each in asked if _name(each) not in settled),
        *(each for each in override if _name(each) in locked),
    ):
        if not _is_met(each, locked):
            yield sentence(_name(each), f"and {requirements.name} asks for {each}")


def _parse(requirements: Requirements, text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{requirements.name}: '{text}' is no requirement: {reason}") from error


def _name(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)


def _is_met(requirement: Requirement, locked: Mapping[str, str]) -> bool:
    """What a marker says is the resolver's to know."""
    version = locked.get(_name(requirement))
    return bool(requirement.marker) or (
        version is not None and requirement.specifier.contains(version, prereleases=True)
    )
