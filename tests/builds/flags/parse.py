"""Has a vLLM release's own command line parse lines: parse.py MISSING... < LINES > ANSWERS

The release is the first `vllm` on VLLM_NIX_PYTHONPATH; LINES is a JSON list of lists of words, ANSWERS one of
{"values": ...} or {"error": ...}, besides the flags that there are. `main` is the release's own, and
stopped where it would begin to serve. MISSING are modules that the environment, made for another
release, does not have: stand-ins are imported for them, whatever is asked of them.
"""

import argparse
import contextlib
import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import runpy
import sys
import types
from typing import Any

MISSING = sys.argv[1:]


class Anything:
    """A base class, a decorator, a type: whatever a missing module is imported for."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return args[0] if args and callable(args[0]) else super().__new__(cls)


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.partition(".")[0] in MISSING and importer().startswith("vllm."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        def attribute(name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (Anything,), {})

        module.__getattr__ = attribute  # type: ignore[method-assign]


def importer() -> str:
    """The module that imports: others than vLLM do without what they cannot find."""
    frame = sys._getframe()
    while frame.f_globals["__name__"] in (__name__, "importlib._bootstrap"):
        assert frame.f_back
        frame = frame.f_back
    return str(frame.f_globals["__name__"])


class Parsed(Exception):
    """What the command line was parsed to."""


answers: dict[str, Any] = {"flags": [], "lines": []}
parse_args = argparse.ArgumentParser.parse_args


def parse(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> argparse.Namespace:
    """Takes down the flags, and puts `Parsed` in the place of what `main` would dispatch to."""
    namespace: argparse.Namespace = parse_args(self, *args, **kwargs)
    for action in self._actions:
        if isinstance(action, argparse._SubParsersAction):
            self = action.choices["serve"]
    answers["flags"] = sorted(self._option_string_actions)

    def stop(values: argparse.Namespace) -> None:
        raise Parsed(values)

    if not hasattr(namespace, "dispatch_function"):  # before there was a command `vllm`
        stop(namespace)
    namespace.dispatch_function = stop
    return namespace


def main_of(words: list[str]) -> Any:
    """The release's own `main` for a command line."""
    if words[0] == "python":
        sys.argv = words[2:]
        return lambda: runpy.run_module(words[2], run_name="__main__")
    is_new = importlib.util.find_spec("vllm.entrypoints.cli") is not None
    name = "vllm.entrypoints.cli.main" if is_new else "vllm.scripts"
    return importlib.import_module(name).main


def answer(words: list[str]) -> dict[str, Any]:
    sys.argv = words
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            main_of(words)()
    except Parsed as parsed:
        return {"values": {name: plain(value) for name, value in vars(parsed.args[0]).items()}}
    except SystemExit:
        return {"error": said.getvalue()}
    raise AssertionError("main has parsed nothing")


def plain(value: Any) -> Any:
    try:
        json.dumps(value)
    except TypeError:
        return str(value)
    return value


def speculative_fields() -> list[str]:
    with contextlib.suppress(ImportError, AttributeError, TypeError):
        config = importlib.import_module("vllm.config").SpeculativeConfig
        return [each.name for each in dataclasses.fields(config)]
    return []


sys.meta_path.append(Absent())
lines = json.load(sys.stdin)
argparse.ArgumentParser.parse_args = parse  # type: ignore[method-assign, assignment]
with contextlib.redirect_stdout(sys.stderr):
    answers["lines"] = [answer(words) for words in lines]
    answers["speculative-config"] = speculative_fields()
json.dump(answers, sys.stdout)
