"""What a target's file takes from another target: its `extends`, `add` and `remove`.

`nix/lib/extends.nix` does the same, and says what is wrong in the same words.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vllm_nix.errors import InputError
from vllm_nix.targets.schema import a_type_of

Data = Mapping[str, Any]
Change = Callable[[str, list[str], Any], Any]

_WORDS = ("extends", "add", "remove")


def extend(
    place: str,
    own: Data,
    names: Iterable[str],
    read: Callable[[str], Data],
    chain: tuple[str, ...] = (),
) -> dict[str, Any]:
    """What a file says, `own`, over what it takes from the target that it extends.

    `read` gives the file of one of `names` as it stands. Raises `InputError`.
    """
    if "extends" not in own:
        for word in _WORDS:
            if word in own:
                raise InputError(f"{place}: {word}: 'extends' names no target that it changes")
        return dict(own)
    parent = own["extends"]
    if not isinstance(parent, str):
        raise InputError(f"{place}: extends: expected a string, got {a_type_of(parent)}")
    if parent not in names:
        raise InputError(
            f"{place}: extends: unknown target '{parent}'; there are: {', '.join(names)}"
        )
    if parent in chain:
        raise InputError(f"{place}: extends: a cycle: {' -> '.join((*chain, parent))}")

    def add(key: str, wanted: list[str], base: Any) -> Any:
        if not isinstance(base, list):
            raise InputError(f"{place}: {key}: {parent} has no such list")
        return base + wanted

    def remove(key: str, wanted: list[str], base: Any) -> Any:
        if not isinstance(base, list | dict):
            raise InputError(f"{place}: {key}: {parent} has no such list or table")
        for name in wanted:
            if name not in base:
                raise InputError(f"{place}: {key}: {parent} has no '{name}' there")
        if isinstance(base, list):
            return [element for element in base if element not in wanted]
        return {name: value for name, value in base.items() if name not in wanted}

    base = extend(f"nix/targets/{parent}/target.toml", read(parent), names, read, (*chain, parent))
    for key, change in (("remove", remove), ("add", add)):
        base = _change(place, change, key, own.get(key, {}), base)
    return _over(base, {key: value for key, value in own.items() if key not in _WORDS})


def _change(place: str, change: Change, key: str, wanted: Any, base: Any) -> Any:
    """The base with `change` made of each list that `wanted`, a tree of the same shape, has."""
    if isinstance(wanted, list):
        for element in wanted:
            if not isinstance(element, str):
                raise InputError(f"{place}: {key}: expected strings, got {a_type_of(element)}")
        return change(key, wanted, base)
    if not isinstance(wanted, Mapping):
        raise InputError(f"{place}: {key}: expected a table or a list, got {a_type_of(wanted)}")
    changed = dict(base) if isinstance(base, Mapping) else {}
    for name in sorted(wanted):
        changed[name] = _change(place, change, f"{key}.{name}", wanted[name], changed.get(name))
        if changed[name] in ({}, []):  # a list or a table whose last element goes, goes as well
            del changed[name]
    return changed


def _over(base: Data, own: Data) -> dict[str, Any]:
    merged = dict(base)
    for name, value in own.items():
        under = base.get(name)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            value = _over(under, value)
        merged[name] = value
    return merged
