"""The entry points that distributions register (PyPA, entry points specification)."""

from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass

from vllm_nix.verification.distributions import Distribution, read_text


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """`name = value` of a group; `module` is the value's part before the colon."""

    distribution: str
    group: str
    name: str
    value: str

    @property
    def module(self) -> str:
        return self.value.partition(":")[0].strip()


def read_entry_points(distribution: Distribution) -> tuple[EntryPoint, ...]:
    """All that a distribution registers. Raises ValueError for what is no entry_points.txt."""
    try:
        text = read_text(distribution.folder / "entry_points.txt")
    except FileNotFoundError:
        return ()
    return tuple(_parse(distribution.name, text))


class _Parser(ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr  # names keep their case


def _parse(name: str, text: str) -> Iterator[EntryPoint]:
    parser = _Parser(delimiters=("=",), interpolation=None, strict=False, default_section="\0none")
    try:
        parser.read_string(text)
    except ConfigError as error:
        problem = error.message.partition("\n")[0]
        raise ValueError(f"entry_points.txt cannot be read: {problem}") from error
    for group in parser.sections():
        for key, value in parser.items(group):
            yield EntryPoint(name, group, key, value)
