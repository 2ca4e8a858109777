"""The command `vllm-nix`: parses arguments, runs one command, turns errors into one line."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from vllm_nix import __version__
from vllm_nix.errors import Error, Unavailable

# In the order in which a user meets them. Each is a module in `vllm_nix.cli` with a docstring
# (its help), `arguments(parser)` and `run(args) -> int`.
COMMANDS = ("targets", "params", "fetch", "lock", "archs", "verify", "serve", "model", "completion")
# Commands that pass the words after `--` on to another program, as `args.rest`.
PASS_ON = ("serve",)


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of the named commands alone: importing them all takes longer than most run."""
    top = argparse.ArgumentParser(
        prog="vllm-nix", description="A working, verified vLLM on the accelerator that you have."
    )
    top.add_argument("--version", action="version", version=f"vllm-nix {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        module = importlib.import_module(f"vllm_nix.cli.{name}")
        text = (module.__doc__ or "").strip()
        sub = commands.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(sub)
        sub.set_defaults(run=module.run)
    return top


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    known = parser(argv[:1] if argv and argv[0] in COMMANDS else COMMANDS)
    end = argv.index("--") if "--" in argv and argv[0] in PASS_ON else len(argv)
    return known.parse_args(argv[:end], argparse.Namespace(rest=tuple(argv[end + 1 :])))


def main(argv: Sequence[str] | None = None) -> int:
    try:
        args = _parse(sys.argv[1:] if argv is None else argv)
        code = int(args.run(args))
        print(end="", flush=True)  # while it can still be said that nobody can read this
        return code
    except Error as error:
        print(f"vllm-nix: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader (`| head`) has gone
        _drop_output()
        return 1
    except OSError as error:  # a full disk, a current folder that is no more
        _drop_output()
        reason = ": ".join(filter(None, (error.filename, error.strerror))) or error
        print(f"vllm-nix: {reason}", file=sys.stderr)
        return Unavailable.exit_code
    except KeyboardInterrupt:
        return 130


def _drop_output() -> None:
    """What stdout cannot take goes nowhere: Python would stumble over it again when it ends."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
