"""A profile's vLLM for as long as a block runs, and a client that asks it as a user would."""

import http.client
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_nix.errors import Error, Unavailable
from vllm_nix.process import Outcome, run

_ASKING = 0.3  # seconds between two questions whether it is ready
_ERROR = re.compile(r"error:|[A-Za-z.]{1,60}Error: |\(\w+ pid=\d+\) [A-Za-z.]{1,60}Error: ")
_ANSWERING = 300.0  # seconds without a word more


def logged(command: Sequence[str | Path], log: Path) -> list[str | Path]:
    """The command, with all that it says at the end of a file."""
    return ["/bin/sh", "-c", 'log=$1; shift; exec "$@" >>"$log" 2>&1', "sh", log, *command]


def last_lines(log: Path) -> str:
    """The last errors that a log has, else its last lines, as one."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - (1 << 16)))
        text = stream.read().decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return " ".join((errors or lines)[-2:]) or "it said nothing"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Server:
    """A server on this machine that is started, and may not be ready yet."""

    port: int
    key: str
    log: Path
    process: "Future[Outcome]"

    def wait(self, limit: float) -> Iterator[float]:
        """Yields the seconds that have passed until it is ready. Raises `Error`."""
        start = time.monotonic()
        while not self._is_ready():
            passed = time.monotonic() - start
            if self.process.done():
                end, said = self.process.result().end or "exit status 0", last_lines(self.log)
                raise Error(f"vLLM ended before it was ready ({end}): {said}")
            if passed > limit:
                raise Unavailable(f"vLLM was not ready after {limit:g} s")
            yield passed
            time.sleep(_ASKING)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def ask(self, model: str, question: str, tokens: int) -> Iterator["Piece"]:
        """The answer as it comes, of up to `tokens` tokens, the likeliest at each place.

        Raises `Error`.
        """
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWERING)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                text = response.read(2000).decode("utf-8", "replace")
                raise Error(f"vLLM answers with status {response.status}: {text}")
            while line := response.readline(1 << 20):
                if line.startswith(b"data: {"):
                    yield _piece(json.loads(line[len(b"data: ") :]))
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise Error(f"vLLM breaks its answer off: {error}") from error
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer; `tokens` is how many the whole has, in the last one, and 0 before."""

    text: str
    tokens: int


def _piece(event: Mapping[str, Any]) -> Piece:
    text = "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    return Piece(text, int((event.get("usage") or {}).get("completion_tokens", 0)))


@contextmanager
def running(
    words: Sequence[str],
    environment: Path,
    variables: Mapping[str, str],
    *,
    port: int,
    key: str,
    log: Path,
) -> Iterator[Server]:
    """Starts an environment's vLLM by `words`, such as those of `Command`; ends it with the block."""
    stop = threading.Event()
    command = logged([environment / "bin" / words[0], *words[1:]], log)
    given = {**os.environ, **variables, "VLLM_API_KEY": key}
    with ThreadPoolExecutor(1) as pool:
        try:
            yield Server(port, key, log, pool.submit(run, command, environment=given, stop=stop))
        finally:
            stop.set()
