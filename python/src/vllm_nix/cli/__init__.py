"""The command `vllm-nix`: parses arguments, runs one command, turns errors into one line."""

from __future__ import annotations  # which argparse need not be imported for

import _thread  # with threading, 1 ms of every start
import gc
import io
import os
import sys
import time
from _collections_abc import Callable, Iterator, Mapping, Sequence

from vllm_nix.errors import Error, Unavailable, limit_met
from vllm_nix.text import printable

TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    import argparse
    import signal
    from types import SimpleNamespace
else:
    import _signal as signal  # what signal makes enumerations of, 4 ms

# By what one wants to do, in the order in which a user meets them. Each is a module in `vllm_nix.cli`
# with a docstring (its help), `arguments(parser)` and `run(args) -> int`.
GROUPS: Mapping[str, Sequence[str]] = {
    "Begin": ("targets", "demo"),
    "Build": ("fetch", "params", "lock", "outdated"),
    "Check": ("verify", "archs", "slim"),
    "Serve": ("serve", "model", "ray"),
    "Carry": ("bundle",),
    "Set up": ("completion",),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)
# Commands that pass the words after `--` on to another program, as `args.rest`.
PASS_ON = ("demo", "serve", "ray")
# Commands that start programs.
STARTING = ("demo", "fetch", "lock", "outdated", "verify", "slim", "model", "bundle", "ray")
_YOUNG = (
    100_000  # objects until Python looks for cycles, of which we make next to none; 700 by itself
)
_ended: list[int] = []  # signals that have come, which ask to end
_GRACE, _LAST = 0.7, 0.95  # seconds for unwinding after a signal


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of all commands; of those not in `names`, which are not imported, a summary alone."""
    from vllm_nix.cli import parsers

    return parsers.parser(names)


def _overview() -> Iterator[str]:
    for title, names in GROUPS.items():
        yield f"{title}:"
        yield from (f"    {name:<12}{_summary(name)}" for name in names)
        yield ""
    yield "`vllm-nix COMMAND --help` says more about one."


def _summary(command: str) -> str:
    """The first line of a command's module, which takes long to import."""
    file = os.path.join(os.path.dirname(__file__), f"{command}.py")  # noqa: PTH118, PTH120 -- see above
    with open(file, encoding="utf-8") as module:  # noqa: PTH123
        return module.readline().strip().strip('"')


def _parse(argv: Sequence[str]) -> argparse.Namespace | SimpleNamespace:
    if not argv or argv[0] not in COMMANDS:
        top = parser(())
        top.parse_args(argv)
        top.error("which command? `vllm-nix --help` lists them")
    name, *words = argv
    if name == "archs":
        from vllm_nix.cli import archs

        if args := archs.plain(words):
            args.command, args.run = name, archs.run
            return args
    import argparse

    from vllm_nix.cli import parsers

    end = words.index("--") if "--" in words and name in PASS_ON else len(words)
    given = argparse.Namespace(command=name, rest=tuple(words[end + 1 :]))
    return parsers.command(name).parse_args(words[:end], given)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns the exit status; the process's own, if None, and ends it."""
    if argv is not None:
        return _run(argv, lambda command: None)
    _prepare()
    try:
        code = _run(sys.argv[1:], _inherit)
    except SystemExit as end:  # of argparse, after a fault or --help
        code = end.code if isinstance(end.code, int) else 1
    except Exception:  # one in whose place a signal's came, as in a module that is compiled
        if not _ended:
            raise
    if _ended:
        os._exit(128 + _ended[0])  # nothing more is written: it would say something else
    try:  # noqa: SIM105 -- contextlib takes 3 ms
        print(end="", flush=True)
    except OSError:
        pass
    # Python would take all apart first, and wait for threads: longer than `archs` takes for a file.
    os._exit(code)


def _inherit(command: str) -> None:
    if command in STARTING:
        os.getcwd()  # programs fail without one, each in its own words  # noqa: PTH109
        from vllm_nix.process import inherit_orphans

        inherit_orphans()


def _run(argv: Sequence[str], begin: Callable[[str], None]) -> int:
    args = None
    try:
        try:
            args = _parse(argv)
        except SystemExit as end:  # of argparse, after a fault or --help
            if "--json" in argv and (said := getattr(end, "said", "")):
                _print_failure(said, 2)
            print(end="", flush=True)
            raise
        begin(args.command)
        code = int(args.run(args))
        print(end="", flush=True)  # while it can still be said that nobody can read this
        return code
    except Error as error:
        return _fail(args, error, error.exit_code)
    except BrokenPipeError:  # the reader (`| head`) has gone
        _drop_output()
        return 1
    except OSError as error:  # a full disk, a current folder that is no more
        _drop_output()
        from vllm_nix.paths import reason

        said = ": ".join(filter(None, (error.filename, reason(error))))
        if isinstance(error, FileNotFoundError) and not error.filename:  # of getcwd and tempfile
            if error.strerror == os.strerror(error.errno or 0):
                said = "the current folder is gone; cd to one that is there"
            else:
                said = f"{said}; name a folder that takes files in TMPDIR"
        return _fail(args, said, Unavailable.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except ImportError as error:  # what a program of Python's own lacks, if these lead elsewhere
        names = [name for name in ("PYTHONHOME", "PYTHONPATH") if os.environ.get(name)]
        if not names:
            raise
        said = f"{error}; unset {' and '.join(names)}, which another Python's modules come from"
        code = _fail(args, said, Unavailable.exit_code)
        if args is None and "--json" in argv:
            _print_failure(said, code)
        return code
    except (MemoryError, RuntimeError) as error:
        if not (said := limit_met(error)):
            raise
        return _fail(args, said, Unavailable.exit_code)


def _prepare() -> None:
    """Makes the process fit for a command: its streams, its file mode mask, its signals."""
    gc.set_threshold(_YOUNG)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed; what is opened next must not come in its place
            stream = open(os.devnull, "w" if descriptor else "r")  # noqa: PTH123, SIM115
            if stream.fileno() != descriptor:
                os.dup2(stream.fileno(), descriptor)
            setattr(sys, name, stream)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")  # for a locale without the letters
    os.umask(os.umask(0o077) & 0o077)  # one that takes our own rights would only make us fail
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    """Unwinds, so that temporary files go; at once where that takes long, as threads may.

    Children end with us, however we end.
    """
    _ended.append(number)
    _thread.start_new_thread(_end_at_last, (number,))
    # A thread, which others may keep waiting; the kernel does not.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _LAST)
    raise KeyboardInterrupt


def _end_at_last(number: int) -> None:
    time.sleep(_GRACE)
    os._exit(128 + number)


def _fail(args: argparse.Namespace | SimpleNamespace | None, said: object, code: int) -> int:
    """Says why there is no result, in JSON too if that was asked for; returns the exit status."""
    if _ended:
        return code
    try:
        print(f"vllm-nix: {printable(said)}", file=sys.stderr)
        if getattr(args, "json", False):
            _print_failure(said, code)
    except OSError:
        pass
    return code


def _print_failure(said: object, code: int) -> None:
    import json

    print(json.dumps({"exit_code": code, "error": str(said)}), flush=True)


def _drop_output() -> None:
    """What stdout cannot take goes nowhere: Python would stumble over it again when it ends."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
