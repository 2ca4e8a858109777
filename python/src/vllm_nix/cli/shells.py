"""Shell completion, generated from the argument parser itself: what it knows is what is completed.

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
    "SET": _sets,
    "CHECK": _checks,
    "DEVICE": _devices,
}


def _profiles_of(target: str) -> tuple[str, ...]:
    from vllm_nix.serve import profile_names

    return profile_names(target)


@dataclass(frozen=True, slots=True)
class Option:
    """An option by its names; `values` are None where it takes none, empty for files. It takes `many`
    of them, or one."""

    names: tuple[str, ...]
    values: tuple[str, ...] | None
    many: bool
    help: str


@dataclass(frozen=True, slots=True)
class Word:
    """A place for a word that is no option: its values, empty for files. `of_target`: by the target
    that is named before it. It takes `many` of them, or one."""

    values: tuple[str, ...]
    of_target: Mapping[str, tuple[str, ...]]
    many: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its options, and its words in their order."""

    name: str
    help: str
    options: tuple[Option, ...]
    words: tuple[Word, ...]


def commands(parser: argparse.ArgumentParser) -> tuple[Command, ...]:
    """What a parser with subcommands offers."""
    (group,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return tuple(
        Command(name, (sub.description or "").partition("\n")[0], _options(sub), _words(sub))
        for name, sub in group.choices.items()
    )


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for one of `SHELLS`, to be evaluated or to be found by the shell in a file."""
    found = commands(parser)
    if shell == "fish":
        return "".join(f"{line}\n" for line in _fish(parser.prog, found))
    bash = _bash(parser.prog, found)
    # zsh runs bash's completions as they are. From a file of that name, this runs for the first tab.
    return bash if shell == "bash" else _ZSH.format(prog=parser.prog, bash=bash)


def _options(parser: argparse.ArgumentParser) -> tuple[Option, ...]:
    return tuple(
        Option(
            tuple(action.option_strings),
            None if action.nargs == 0 else _values(action),
            action.nargs in _MANY,
            action.help or "",
        )
        for action in parser._actions
        if action.option_strings
    )


def _words(parser: argparse.ArgumentParser) -> tuple[Word, ...]:
    actions = [action for action in parser._actions if not action.option_strings]
    targets = _targets() if any(action.metavar == "PROFILE" for action in actions) else ()
    profiles = {target: _profiles_of(target) for target in targets}
    return tuple(
        Word(
            _values(action),
            profiles if action.metavar == "PROFILE" else {},
            action.nargs in _MANY,
        )
        for action in actions
    )


_MANY = ("+", "*")


def _values(action: argparse.Action) -> tuple[str, ...]:
    if action.choices:
        return tuple(map(str, action.choices))
    names = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return tuple(VALUES[names]()) if names in VALUES else ()


# bash has `--for=orin` as three words, zsh as one. What comes after `--` is another program's.
_BASH = """\
_{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}}
    local words= option= many= target= given= at=0 index
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W {top} -- "$word"))
        return
    fi
    [ "$word" != = ] || word=
    for ((index = 2; index < COMP_CWORD; index++)); do
        case ${{COMP_WORDS[index]}} in
        =) ;;
        --) return ;;
        --*=*) option= ;;
        -*)
            option=${{COMP_WORDS[index]}} many=
            case $command,$option in
            {many}) many=1 ;;
            {one}) ;;
            *) option= ;;
            esac
            ;;
        *)
            if [ -z "$option" ]; then
                [ "$at" -ne 0 ] || target=${{COMP_WORDS[index]}}
                at=$((at + 1))
            elif [ -z "$many" ]; then
                option=
            fi
            ;;
        esac
    done
    case $word in --*=*) option=${{word%%=*}} given=$option= word=${{word#*=}} ;; esac
    case $word in
    -*)
        case $command in
{names}
        esac
        ;;
    *)
        if [ -n "$option" ]; then
            case $command,$option in
{values}
            esac
        else
            case $command,$at,$target in
{words}
            esac
        fi
        ;;
    esac
    COMPREPLY=($(compgen -P "$given" -W "$words" -- "$word"))
}}
complete -o default -F _{function} {prog}
"""
_ZSH = """\
#compdef {prog}
autoload -U +X bashcompinit && bashcompinit
{bash}\
[ "${{funcstack[1]}}" != "_{prog}" ] || eval "${{_comps[{prog}]}}"
"""


def _bash(prog: str, found: tuple[Command, ...]) -> str:
    taking = [
        (f"{command.name},{name}", option)
        for command in found
        for option in command.options
        if option.values is not None
        for name in option.names
    ]
    places = [
        (f"{command.name},{'*' if word.many else at},{target}", values)
        for command in found
        for at, word in enumerate(command.words)
        for target, values in (*word.of_target.items(), ("*", word.values))
    ]
    none = "-"  # a pattern is needed, and this is no option
    return _BASH.format(
        function=prog.replace("-", "_"),
        prog=prog,
        top=quote(" ".join(["--help", "--version", *(command.name for command in found)])),
        many="|".join(place for place, option in taking if option.many) or none,
        one="|".join(place for place, option in taking if not option.many) or none,
        names=_cases((command.name, _names(command)) for command in found),
        values=_cases((place, option.values or ()) for place, option in taking),
        words=_cases(places),
    )


def _cases(rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    return "\n".join(
        f"            {place}) words={quote(' '.join(some))} ;;" for place, some in rows
    )


def _names(command: Command) -> list[str]:
    return [name for option in command.options for name in option.names]


def _fish(prog: str, found: tuple[Command, ...]) -> Iterator[str]:
    yield f"complete -c {prog} -n __fish_use_subcommand -l version -l help -f"
    for command in found:
        yield f"complete -c {prog} -n __fish_use_subcommand -f -a {_f(command.name)} -d {_f(command.help)}"
        seen = f"__fish_seen_subcommand_from {command.name}"
        for word in command.words:
            # A profile comes after its target; what comes once, is not offered again.
            for target, values in word.of_target.items():
                once = f"; and not __fish_seen_subcommand_from {' '.join(values)}" if values else ""
                yield _offer(
                    prog, f"{seen}; and __fish_seen_subcommand_from {target}{once}", values
                )
            if word.values:
                once = f"; and not __fish_seen_subcommand_from {' '.join(word.values)}"
                yield _offer(prog, seen + ("" if word.many else once), word.values)
        for option in command.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
            )
            takes = ""
            if option.values is not None:
                takes = f" -x -a {_f(' '.join(option.values))}" if option.values else " -r"
            yield f"complete -c {prog} -n {_f(seen)} {names}{takes} -d {_f(option.help)}"


def _offer(prog: str, condition: str, values: Iterable[str]) -> str:
    return f"complete -c {prog} -n {_f(condition)} -f -a {_f(' '.join(values))}"


def _f(text: str) -> str:
    """A word in fish's single quotes, where only these two are special."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("%%", "%") + "'"
