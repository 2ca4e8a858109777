"""Runs other programs: apart, and within bounds of time, bytes, processes and memory.

Nothing that a program starts outlives it, or us, on Linux: not daemons either, and not if we are
killed (`vllm_nix.supervisor` does that). Elsewhere that holds for its process group alone.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from vllm_nix.errors import Unavailable
from vllm_nix.supervisor import become_subreaper, kill_below

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_TAIL = 1 << 16  # bytes of each output stream that are kept, the last ones
_WHOLE = 1 << 24  # bytes of answers, and of output that is wanted as a whole
_OUTPUT = 1 << 26  # bytes that a stream may have in all
_PROCESSES = 1024  # processes at a time
_CHUNK = 1 << 16
_TICK = 0.05  # seconds between two looks at `stop` and at the clock
_PATIENCE = 3.5  # seconds that the supervisor has to end all; it takes up to three itself

_LOCALE = re.compile(r"^.*bash: warning: setlocale: LC_ALL: .*\n?", re.MULTILINE)
# What Python prints between the tracebacks of a chain.
_CHAINED = (
    "The above exception was the direct cause of the following exception:"
    "|During handling of the above exception, another exception occurred:"
)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_starting = threading.Lock()
_supervisors: set[int] = set()  # those that run
_inherits = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `status` is its exit status, minus the signal's number, or None if it was
    stopped, and `stopped` says why. `answers` are the JSON lines it sent; of its output, a tail."""

    status: int | None
    answers: tuple[dict[str, Any], ...]
    stdout: str
    stderr: str
    stopped: str = ""

    @property
    def end(self) -> str:
        """How it ended, in words; empty if it ended well."""
        if self.status is None:
            return self.stopped
        if self.status < 0:
            return f"killed by {_signal_name(-self.status)}"
        return f"exit status {self.status}" if self.status else ""

    def last_words(self) -> str:
        """Its last message: up to three lines, but not the frames of a traceback before them, nor what bash
        says at its start where its libc has no such locale, as our base's has not."""
        lines = (_LOCALE.sub("", self.stderr).strip() or self.stdout.strip()).splitlines()[-3:]
        frames = [i for i, line in enumerate(lines) if line.startswith(" ")]
        return "\n".join(lines[frames[-1] + 1 :] if frames else lines)

    def reasons(self) -> str:
        """The last words of each traceback that led to its end, the first cause first."""
        parts = re.split(_CHAINED, self.stderr)
        texts = [Outcome(1, (), "", part).last_words() for part in parts[:-1]]
        return "; then ".join(dict.fromkeys([*filter(None, texts), self.last_words()]))


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path | None = None,
    limit: float | None = None,
    total: float | None = None,
    whole: bool = False,
    shown: bool = False,
    stop: threading.Event | None = None,
    processes: int | None = None,
    memory: int = 0,
) -> Outcome:
    """Runs `command` in `folder`; each "{answers}" in it becomes a file descriptor to write to.

    An answer is a JSON object on a line. `limit`, in seconds, starts anew with each answer, `total`
    does not, and is `limit` if not given; None is no limit. Output is kept by its last 64 kB or, if
    `whole`, as a whole, of up to 16 MiB; if `shown`, it goes where ours goes, and is not kept.
    More output than 64 MiB, more `processes` at a time (1024, if not given; 0 is no limit), or more bytes
    of `memory` in all (0 is no limit) stop the program, as does setting `stop`. When this returns,
    everything that the program started has been killed.

    Raises OSError if the program cannot be started.
    """
    most = _PROCESSES if processes is None else processes
    if stop and stop.is_set():
        return Outcome(None, (), "", "", "stopped")
    with ExitStack() as stack:
        (answers, answering), (report, reporting), (watched, life) = (
            [stack.enter_context(end) for end in _pipe()] for _ in range(3)
        )
        given = (answering, reporting, watched)
        stream = None if shown else subprocess.PIPE
        with _starting:
            child = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_SUPERVISOR)),
                    *(str(reporting.fileno()), str(watched.fileno()), str(most), str(memory)),
                    *(str(part).replace("{answers}", str(answering.fileno())) for part in command),
                ],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                bufsize=0,
                pass_fds=[end.fileno() for end in given],
                start_new_session=True,
            )
            _supervisors.add(child.pid)
        stack.callback(_end, child)
        stack.callback(life.close)  # the sign for the supervisor to end
        for end in given:
            end.close()
        reading = _Reading(answers, report, child, whole)
        stack.callback(reading.close)
        reading.follow(life, limit, limit if total is None else total, stop)
    return reading.outcome(str(command[0]))


def free_memory() -> int:
    """Bytes that this machine can give to programs (proc_meminfo(5)); 0 if it does not say."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        size = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return 1024 * int(size)
    return 0


def ask(
    command: Sequence[str | Path],
    *,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
    limit: float | None = None,
    whole: bool = True,
    stop: threading.Event | None = None,
) -> Outcome:
    """`run` for a program of this machine's: with our own variables and `variables`, in English.

    Raises `Unavailable` if it cannot be started, or had to be stopped.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(variables or {})}
    try:
        outcome = run(
            command, environment=environment, folder=folder, limit=limit, whole=whole, stop=stop
        )
    except OSError as error:
        raise Unavailable(f"cannot run {command[0]}: {error.strerror}") from error
    if outcome.status is None:
        raise Unavailable(f"{command[0]} was stopped: {outcome.stopped}")
    return outcome


class _Reading:
    """What is read from a program while it runs."""

    def __init__(
        self, answers: FileIO, report: FileIO, child: subprocess.Popen[bytes], whole: bool
    ) -> None:
        self.child = child
        self.report = report.fileno()
        self.answers = answers.fileno()
        self.output = [stream.fileno() for stream in (child.stdout, child.stderr) if stream]
        self.kept = _WHOLE if whole else _TAIL
        streams = (self.report, self.answers, *self.output)
        self.most = dict.fromkeys(streams, _WHOLE if whole else _OUTPUT) | {self.answers: _WHOLE}
        self.read = dict.fromkeys(streams, 0)  # bytes of each
        self.data = {stream: bytearray() for stream in streams}
        self.found: list[dict[str, Any]] = []  # answers
        self.stopped = ""
        self.selector = selectors.DefaultSelector()
        for stream in streams:
            os.set_blocking(stream, False)
            self.selector.register(stream, selectors.EVENT_READ)

    def close(self) -> None:
        self.selector.close()

    def follow(
        self,
        life: FileIO,
        limit: float | None,
        total: float | None,
        stop: threading.Event | None,
    ) -> None:
        """Reads until the supervisor has ended; closes `life` for it to end when a bound is met."""
        start = last = time.monotonic()
        while self.report in self.selector.get_map():
            for key, _ in self.selector.select(_TICK):
                if self._read(key.fd):
                    last = time.monotonic()
            now = time.monotonic()
            if not self.stopped:
                over = [stream for stream, size in self.read.items() if size > self.most[stream]]
                if stop and stop.is_set():
                    self.stopped = "stopped"
                elif limit is not None and now > last + limit:
                    self.stopped = f"no answer within {limit:g} s"
                elif total is not None and now > start + total:
                    self.stopped = f"not done within {total:g} s"
                elif over:
                    self.stopped = f"more than {self.most[over[0]] >> 20} MiB of output"
                if self.stopped:
                    life.close()
                    ended = now
            elif now > ended + _PATIENCE:
                _kill(self.child)
                return
        for stream in [key.fd for key in self.selector.get_map().values()]:
            while self.read[stream] <= self.most[stream] and self._read(stream) is not None:
                pass

    def _read(self, stream: int) -> bool | None:
        """Reads once; whether an answer came, and None at the end or where there is nothing yet."""
        try:
            chunk = os.read(stream, _CHUNK)
        except BlockingIOError:
            return None
        if not chunk:
            self.selector.unregister(stream)
            return None
        self.read[stream] += len(chunk)
        data = self.data[stream]
        data += chunk
        if stream != self.answers:
            del data[: -self.kept]
            return False
        if b"\n" not in chunk:
            return False
        lines, _, rest = bytes(data).rpartition(b"\n")
        data[:] = rest
        found = list(_parse(lines))
        self.found += found
        return bool(found)

    def outcome(self, program: str) -> Outcome:
        """How it ended. Raises OSError if it did not start."""
        word, _, number = self.data[self.report].decode().partition(" ")
        decoded = (self.data[stream].decode("utf-8", "replace") for stream in self.output)
        texts = [_COLOURS.sub("", text) for text in decoded]
        stdout, stderr = texts or ("", "")
        status, stopped = None, self.stopped
        if not stopped:
            if word == "error":
                raise OSError(int(number), os.strerror(int(number)), program)
            if word == "ended":
                status = os.waitstatus_to_exitcode(int(number))
            elif word == "crowd":
                stopped = f"{number} processes at a time"
            elif word == "memory":
                stopped = f"more than {int(number) / (1 << 30):.1f} GiB of memory"
            else:
                stopped = "its supervisor was killed"
        return Outcome(status, tuple(self.found), stdout, stderr, stopped)


def _pipe() -> tuple[FileIO, FileIO]:
    reader, writer = os.pipe()
    return FileIO(reader, "rb"), FileIO(writer, "wb")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Waits until the supervisor has ended all; if it cannot, that is done from here."""
    for stream in (child.stdout, child.stderr):
        if stream:
            stream.close()
    try:
        child.wait(_PATIENCE)
    except BaseException as error:  # as Ctrl-C, a second time
        _kill(child)
        child.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
    finally:
        with _starting:
            _supervisors.discard(child.pid)
            if child.returncode and _inherits:
                _kill_orphans()


def inherit_orphans() -> None:
    """For a command of ours: what a program leaves that killed its supervisor becomes ours to end.

    Not for a library, whose process may have children of others.
    """
    global _inherits
    _inherits = True
    become_subreaper()


def _kill_orphans() -> None:
    start = time.monotonic()
    while time.monotonic() < start + _PATIENCE:
        orphans = kill_below(os.getpid(), _supervisors)
        if not orphans:
            return
        for process in orphans:
            with suppress(ChildProcessError):
                os.waitpid(process, 0)


def _kill(supervisor: subprocess.Popen[bytes]) -> None:
    """Ends what a supervisor should have ended, which may have been halted, and then itself."""
    kill_below(supervisor.pid)
    supervisor.kill()


def _parse(lines: bytes) -> Iterator[dict[str, Any]]:
    """The whole lines that are JSON objects; a child that dies in the middle leaves half a line."""
    for line in lines.splitlines():
        with suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
