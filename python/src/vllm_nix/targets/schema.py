"""Which keys a target file may have, and which values: data/targets/schema.toml, interpreted.

`nix/lib/schema.nix` interprets the same file, and says what is wrong in the same words.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from vllm_nix.errors import InputError

Data = Mapping[str, Any]
Path = tuple[str, ...]

_TYPE_NAMES = {str: "string", int: "integer", bool: "boolean", float: "float", list: "list"}


def check_schema(keys: Data, rules: Data, file: str, data: Data) -> None:
    """Checks a target's `data` against the schema's `keys`.

    `rules` holds the tables that a key's `known` names, `file` the place that a message names.
    Raises `InputError` with the first fault, in the order of the keys' names.
    """
    _Checker(keys, rules, file).check(data)


def check_known(keys: Data, file: str, data: Data) -> None:
    """The same of parameters that another release may have written: keys that are not known here, and
    values that are in none of our lists, pass; those of another type or form do not."""
    checker = _KnownChecker(keys, {}, file)
    checker.check_table((), checker.known, data)


class _Checker:
    def __init__(self, keys: Data, rules: Data, file: str) -> None:
        self.keys = keys
        self.rules = rules
        self.file = file
        # As nested tables, `*` for any name. At a key's end stands its row, whose type is a string.
        self.known: dict[str, Any] = {}
        for key, row in keys.items():
            *tables, last = key.split(".")
            known = self.known
            for name in tables:
                known = known.setdefault(name, {})
            known[last] = row

    def fault(self, text: str) -> NoReturn:
        raise InputError(f"{self.file}: {text}")

    def check(self, data: Data) -> None:
        self.check_table((), self.known, data)
        for key, spec in sorted(self.keys.items()):
            pattern = tuple(key.split("."))
            if spec.get("required") or (
                spec.get("required-in-table") and _is_there(pattern[:-1], data)
            ):
                for missing in _lacking((), pattern, data):
                    self.fault(f"'{'.'.join(missing)}' is missing")

    def check_table(self, path: Path, known: Data, table: Data) -> None:
        for name in sorted(table):
            here, value = (*path, name), table[name]
            key = ".".join(here)
            found = known.get(name, known.get("*"))
            if found is None:
                self.unknown(key, known)
            elif isinstance(found.get("type"), str):
                self.check_value(key, found, value)
            elif isinstance(value, Mapping):
                self.check_table(here, found, value)
            else:
                self.fault(f"{key}: expected a table, got {a_type_of(value)}")

    def unknown(self, key: str, known: Data) -> None:
        self.fault(f"unknown key '{key}'; known here: {', '.join(sorted(known))}")

    def allowed(self, spec: Data) -> list[str]:
        return spec.get("one-of") or sorted(self.rules.get(spec.get("known", ""), ()))

    def check_value(self, key: str, spec: Data, value: object) -> None:
        wanted = "list" if spec["type"] == "strings" else spec["type"]
        if _type_of(value) != wanted:
            self.fault(f"{key}: expected {_article(wanted)}, got {a_type_of(value)}")
        if isinstance(value, str):
            self.check_element(key, spec, value)
        elif isinstance(value, list):
            if not value:
                self.fault(f"{key}: the list is empty")
            for element in value:
                if not isinstance(element, str):
                    self.fault(f"{key}: expected strings, got {a_type_of(element)}")
            for element in value:
                self.check_element(key, spec, element)

    def check_element(self, key: str, spec: Data, value: str) -> None:
        allowed = self.allowed(spec)
        if allowed and value not in allowed:
            self.fault(f'{key}: "{value}" is not one of {", ".join(allowed)}')
        if "match" in spec and not re.fullmatch(spec["match"], value):
            self.fault(f'{key}: "{value}" is not {spec["form"]}')


class _KnownChecker(_Checker):
    def unknown(self, key: str, known: Data) -> None:
        """It is another release's."""

    def allowed(self, spec: Data) -> list[str]:
        return []

    def check_element(self, key: str, spec: Data, value: str) -> None:
        if "\0" in value:
            self.fault(f"{key}: a character of number 0 is in it")
        super().check_element(key, spec, value)


def _is_there(path: Path, value: Any) -> bool:
    return not path or (path[0] in value and _is_there(path[1:], value[path[0]]))


def _lacking(here: Path, path: Path, value: Any) -> Iterator[Path]:
    """The keys of a pattern that the data lacks; where it has a `*`, one for each table there is."""
    if not path:
        return
    first, *rest = path
    if first == "*":
        for name in sorted(value):
            yield from _lacking((*here, name), tuple(rest), value[name])
    elif first in value:
        yield from _lacking((*here, first), tuple(rest), value[first])
    elif "*" not in path:
        yield (*here, *path)


def _type_of(value: object) -> str:
    return _TYPE_NAMES.get(type(value), "table" if isinstance(value, Mapping) else "date")


def _article(name: str) -> str:
    return f"an {name}" if name == "integer" else f"a {name}"


def a_type_of(value: object) -> str:
    """A value's type as TOML and messages call it: "a table", "an integer"."""
    return _article(_type_of(value))
