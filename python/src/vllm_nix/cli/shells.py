"""Shell completion, made from the argument parser itself: what it knows is what is completed.

A value is completed by its choices, or by what its metavar stands for (`VALUES`); any other is a
file, which shells complete by themselves.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from shlex import quote

SHELLS = ("bash", "fish", "zsh")


def _targets() -> Iterable[str]:
    from vllm_nix.targets import target_names

    return target_names()


def _profiles() -> Iterable[str]:
    from vllm_nix.serve import profile_names
    from vllm_nix.targets import target_names

    return sorted({name for target in target_names() for name in profile_names(target)})


def _sets() -> Iterable[str]:
    from vllm_nix.fetching.sources import set_names

    return set_names()


def _checks() -> Iterable[str]:
    from vllm_nix.verification import CHECKS

    return (check.id for check in CHECKS)


def _devices() -> Iterable[str]:
    from vllm_nix.gpu.device import device_names

    return device_names()


VALUES: Mapping[str, Callable[[], Iterable[str]]] = {
    "T": _targets,
    "TARGET": _targets,
    "PROFILE": _profiles,
    "SET": _sets,
    "CHECK": _checks,
    "DEVICE": _devices,
}


@dataclass(frozen=True, slots=True)
class Option:
    """An option by its names; `values` are None where it takes none, empty for files."""

    names: tuple[str, ...]
    values: tuple[str, ...] | None
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its options, and the words that may stand alone (empty for files)."""

    name: str
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...]


def commands(parser: argparse.ArgumentParser) -> tuple[Command, ...]:
    """What a parser with subcommands offers."""
    (group,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in group._choices_actions}
    return tuple(
        Command(name, helps[name], tuple(_options(sub)), _words(sub))
        for name, sub in group.choices.items()
    )


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for one of `SHELLS`."""
    found = commands(parser)
    if shell == "fish":
        return "".join(f"{line}\n" for line in _fish(parser.prog, found))
    # zsh runs bash's completions as they are.
    head = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return head + _bash(parser.prog, found)


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if action.option_strings:
            values = None if action.nargs == 0 else _values(action)
            yield Option(tuple(action.option_strings), values, action.help or "")


def _words(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    words: list[str] = []
    for action in parser._actions:
        if not action.option_strings:
            words += _values(action)
    return tuple(words)


def _values(action: argparse.Action) -> tuple[str, ...]:
    if action.choices:
        return tuple(map(str, action.choices))
    names = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return tuple(VALUES[names]()) if names in VALUES else ()


_BASH = """\
_{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={top}
    else
        case ${{COMP_WORDS[1]}},$before in
{values}
        *)
            case ${{COMP_WORDS[1]}},$word in
{commands}
            esac
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _{function} {prog}
"""


def _bash(prog: str, found: tuple[Command, ...]) -> str:
    values = [
        f"        {'|'.join(f'{command.name},{name}' for name in option.names)})"
        f" words={quote(' '.join(option.values))} ;;"
        for command in found
        for option in command.options
        if option.values is not None
    ]
    words = [
        f"            {command.name},{pattern}) words={quote(' '.join(some))} ;;"
        for command in found
        for pattern, some in (("-*", _names(command)), ("*", command.words))
    ]
    return _BASH.format(
        function=prog.replace("-", "_"),
        prog=prog,
        top=quote(" ".join(["--help", "--version", *(command.name for command in found)])),
        values="\n".join(values),
        commands="\n".join(words),
    )


def _names(command: Command) -> list[str]:
    return [name for option in command.options for name in option.names]


def _fish(prog: str, found: tuple[Command, ...]) -> Iterator[str]:
    yield f"complete -c {prog} -n __fish_use_subcommand -l version -l help -f"
    for command in found:
        yield f"complete -c {prog} -n __fish_use_subcommand -f -a {_f(command.name)} -d {_f(command.help)}"
        here = f"complete -c {prog} -n {_f(f'__fish_seen_subcommand_from {command.name}')}"
        if command.words:
            yield f"{here} -f -a {_f(' '.join(command.words))}"
        for option in command.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
            )
            takes = ""
            if option.values is not None:
                takes = f" -x -a {_f(' '.join(option.values))}" if option.values else " -r"
            yield f"{here} {names}{takes} -d {_f(option.help)}"


def _f(text: str) -> str:
    """A word in fish's single quotes, where only these two are special."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("%%", "%") + "'"
