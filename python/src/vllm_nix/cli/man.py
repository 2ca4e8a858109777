"""The manual page, from the parsers themselves: ``python -m vllm_nix.cli.man > vllm-nix.1``.

In the macros of man(7). All that is of others' stands behind `\\&`, or has its backslashes doubled.
"""

import argparse
import re
from collections.abc import Iterator

from vllm_nix import cli
from vllm_nix.version import __version__


def page() -> str:
    """The page, section 1."""
    return "".join(f"{line}\n" for line in _lines(cli.parser()))


def _lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f'.TH VLLM-NIX 1 "" "vllm-nix {__version__}" "User Commands"'
    yield from (".SH NAME", f"{parser.prog} \\- {_text(_lower(parser.description))}")
    yield from (".SH SYNOPSIS", f".B {parser.prog}", r"\fICOMMAND\fR [\fIoptions\fR]")
    yield ".SH COMMANDS"
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for title, names in cli.GROUPS.items():
        yield from (".SS " + _text(title),)
        for name in names:
            yield from _command(name, commands.choices[name])
    yield from (
        ".SH EXIT STATUS",
        "0 it is done; 1 it failed, or something is wrong; 2 wrong arguments;",
    )
    yield "3 the machine lacks something. `vllm\\-nix COMMAND \\-\\-help` says where it is other."


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    formatter = argparse.HelpFormatter(parser.prog, width=1000)
    formatter.add_usage(parser.usage, parser._actions, [], prefix="")
    yield from (".TP", f".B {_text(name)}")
    yield _text((parser.description or "").partition("\n")[0])
    yield from (".RS", ".PP", ".nf", _text(formatter.format_help().strip()), ".fi")
    if rest := (parser.description or "").partition("\n")[2].strip():
        yield from (".PP", ".nf", _text(rest), ".fi")
    for action in parser._actions:
        if action.option_strings and "--help" not in action.option_strings:
            value = "" if action.nargs == 0 else f" \\fI{_text(_value(action))}\\fR"
            names = ", ".join(rf"\fB{_text(one)}\fR" for one in action.option_strings)
            yield from (".TP", names + value, _text((action.help or "").replace("%%", "%")))
    yield ".RE"


def _value(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper().replace("_", "-"))


def _text(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^(?=[.'])", r"\\&", escaped, flags=re.MULTILINE)


def _lower(text: str | None) -> str:
    text = (text or "").rstrip(".")
    return text[:1].lower() + text[1:]


if __name__ == "__main__":
    print(page(), end="")
