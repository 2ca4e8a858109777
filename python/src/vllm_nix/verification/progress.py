"""Which checks are running: one line on the terminal, gone when they are done."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from vllm_nix.verification.check import Check
from vllm_nix.verification.report import Result
from vllm_nix.verification.run import Progress


@contextmanager
def shown(stream: TextIO) -> Iterator[Progress]:
    """A function for `verify(progress=...)`. It shows nothing unless `stream` is a terminal."""
    if not stream.isatty():
        yield lambda check, result: None
        return
    from rich.console import Console

    running: dict[str, None] = {}  # in the order of their start
    with Console(file=stream).status("verifying") as line:

        def progress(check: Check, result: Result | None) -> None:
            if result is None:
                running[check.id] = None
            else:
                running.pop(check.id)
            line.update(f"verifying: {', '.join(tuple(running))}")

        yield progress
