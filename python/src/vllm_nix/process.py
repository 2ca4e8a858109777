"""Runs one program of the environment: apart, in time, and with bounded output."""

import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TAIL = 1 << 16  # bytes of each output stream that are kept, the last ones
_ANSWERS = 1 << 24  # bytes of answers that are read; maps of a large process have about 300 kB
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended. `status` is its exit status, minus the signal's number, or None if it was
    stopped after `limit` seconds without an answer. `answers` are the JSON lines it sent."""

    status: int | None
    answers: tuple[dict[str, Any], ...]
    stdout: str
    stderr: str
    limit: float

    @property
    def end(self) -> str:
        """How it ended, in words; empty if it ended well."""
        if self.status is None:
            return f"no answer within {self.limit:g} s"
        if self.status < 0:
            return f"killed by {_signal_name(-self.status)}"
        return f"exit status {self.status}" if self.status else ""

    def last_words(self) -> str:
        """Its last message: up to three lines, but not the frames of a traceback before them."""
        lines = (self.stderr.strip() or self.stdout.strip()).splitlines()[-3:]
        frames = [i for i, line in enumerate(lines) if line.startswith(" ")]
        return "\n".join(lines[frames[-1] + 1 :] if frames else lines)


def run(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    limit: float,
    stop: threading.Event | None = None,
) -> Outcome:
    """Runs `command` in `folder`; each "{answers}" in it becomes a file descriptor to write to.

    The limit, in seconds, starts anew with each answer. The child leads a process group of its own,
    all of which is killed at the end, or as soon as `stop` is set. Raises OSError if the program
    cannot be started.
    """
    stop = stop or threading.Event()
    if stop.is_set():
        raise InterruptedError("stopped before it was started")
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as answers:
        try:
            process = subprocess.Popen(
                [str(part).replace("{answers}", str(writer)) for part in command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(writer,),
                start_new_session=True,
            )
        finally:
            os.close(writer)
        with process, _killed_at_the_end(process):
            assert process.stdout and process.stderr
            streams = {
                answers: bytearray(),
                process.stdout: bytearray(),
                process.stderr: bytearray(),
            }
            status = _follow(process, streams, answers, limit, stop)
            lines, stdout, stderr = streams.values()
    return Outcome(status, tuple(_parse(bytes(lines))), _text(stdout), _text(stderr), limit)


def _follow(
    process: subprocess.Popen[bytes],
    streams: dict[Any, bytearray],
    answers: Any,
    limit: float,
    stop: threading.Event,
) -> int | None:
    """Collects the streams until the process ends; None if it did not in time."""
    deadline = time.monotonic() + limit
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
        while True:
            # A grandchild may hold the pipes open for ever: the child's end is what counts.
            ended = process.poll() is not None
            ready = selector.select(0 if ended else 0.05) if selector.get_map() else []
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                buffer = streams[key.fileobj]
                buffer += chunk
                if key.fileobj is not answers:
                    del buffer[:-_TAIL]
                elif chunk:
                    deadline = time.monotonic() + limit
            if ended and not any(key.fileobj in streams for key, _ in ready):
                return process.returncode
            if not ready and not ended and not selector.get_map():
                time.sleep(0.01)
            if stop.is_set() or time.monotonic() > deadline or len(streams[answers]) > _ANSWERS:
                return process.returncode if ended else None


@contextmanager
def _killed_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _parse(lines: bytes) -> Iterator[dict[str, Any]]:
    """The whole lines that are JSON objects; a child that dies in the middle leaves half a line."""
    for line in lines.splitlines():
        with suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def _text(data: bytearray) -> str:
    return data.decode("utf-8", "replace")


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
