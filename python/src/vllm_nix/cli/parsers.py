"""The parsers of the commands, which a command line without options may do without."""

import argparse
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from vllm_nix import cli
from vllm_nix.text import columns, printable
from vllm_nix.version import __version__


class UsageError(SystemExit):
    """A command line that argparse does not take, which it has said."""

    def __init__(self, said: str) -> None:
        super().__init__(2)
        self.said = said


class _Parser(argparse.ArgumentParser):
    """Its messages quote words, which may be anybody's, pasted."""

    def error(self, message: str) -> NoReturn:
        try:
            super().error(printable(message))
        except SystemExit:
            raise UsageError(message) from None


class _Help(argparse.RawDescriptionHelpFormatter):
    """Made for each argument; by itself it imports shutil first, for the terminal's width."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """As it is written, but what is wider than the terminal."""
        return "\n\n".join(_fitted(part, width) for part in text.split("\n\n"))


def _fitted(paragraph: str, width: int) -> str:
    lines = paragraph.splitlines()
    if max(map(len, lines), default=0) <= width:
        return paragraph
    import textwrap

    if not any("  " in line for line in lines):
        return textwrap.fill(" ".join(lines), width, break_on_hyphens=False)
    hanging = (line.rfind("  ", 0, len(line) // 2) + 2 for line in lines)  # below the last column
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=" " * indent, break_on_hyphens=False)
        for line, indent in zip(lines, hanging, strict=True)
    )


def parser(names: Sequence[str] = cli.COMMANDS) -> argparse.ArgumentParser:
    """The parser of all commands; of those not in `names`, which are not imported, a summary alone."""
    top = _Parser(
        prog="vllm-nix",
        usage="vllm-nix COMMAND [options]",
        description="A working, verified vLLM on the accelerator that you have.",
        epilog="".join(f"{line}\n" for line in cli._overview()),
        formatter_class=_Help,
    )
    top.add_argument("--version", action="version", version=f"vllm-nix {__version__}")
    # Their help is in the epilog, in groups, which argparse has not.
    commands = top.add_subparsers(metavar="COMMAND", prog="vllm-nix", help=argparse.SUPPRESS)
    for name in cli.COMMANDS:
        if name in names:
            command(name, commands.add_parser)
        else:
            commands.add_parser(name, formatter_class=_Help)
    return top


def command(
    name: str, make: Callable[..., argparse.ArgumentParser] = _Parser
) -> argparse.ArgumentParser:
    """The parser of one command, by itself unless `make` has it belong to another."""
    module = importlib.import_module(f"vllm_nix.cli.{name}")
    text = (module.__doc__ or "").strip()
    one = make(
        name if make is not _Parser else f"vllm-nix {name}",
        description=text,
        formatter_class=_Help,
    )
    one.register("type", Path, path)
    module.arguments(one)
    one.set_defaults(run=module.run)
    return one


def add_driver(parser: argparse.ArgumentParser) -> None:
    """The options by which a device's driver is known."""
    driver = parser.add_mutually_exclusive_group()
    driver.add_argument("--cuda", metavar="RELEASE", help="CUDA of its driver, such as 12.6")
    driver.add_argument("--jetpack", metavar="RELEASE", help="instead of --cuda, such as 6.2")


def path(text: str) -> Path:
    """An argument that names a file or folder."""
    if not text:  # it would be the current folder
        raise argparse.ArgumentTypeError("an empty path; is a variable not set?")
    return Path(text)


def word(text: str) -> str:
    """An argument that may be anything but nothing."""
    if not text:
        raise argparse.ArgumentTypeError("an empty word; is a variable not set?")
    return text


def seconds(text: str) -> float:
    """An argument that is a time."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number of seconds between 0 and 1000000"
        )
    return value
