"""A vLLM server for as long as a block runs, and a client that asks it as a user would."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

LIMIT = 900  # seconds until a server must be ready; 50 on a machine that does nothing else


class Client:
    """Asks the server of a port; `key` is its API key, if it has one."""

    def __init__(self, port: int, key: str | None = None) -> None:
        self.port, self.key = port, key
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        return self._ask(path, None, 10).decode()

    def post(self, path: str, body: Any) -> Any:
        return json.loads(self._ask(path, json.dumps(body).encode(), 300))

    def _ask(self, path: str, data: bytes | None, seconds: float) -> bytes:
        headers = {"content-type": "application/json"} if data else {}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.address + path, data, headers)
        with urllib.request.urlopen(request, timeout=seconds) as response:
            content: bytes = response.read()
            return content


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str | Path], folder: Path, client: Client) -> Iterator[int]:
    """The process id of a server that is ready, the leader of its own session.

    It has `folder` to write to and nothing of the host's; if the block fails, what it said is shown.
    """
    variables = {
        "HF_HUB_OFFLINE": "1",
        "HOME": str(folder),
        "PATH": "/nonexistent",  # everything it calls must come with it
        "TMPDIR": str(folder),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with (folder / "log").open("w+") as log:
        server = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )
        try:
            wait(server, client)
            yield server.pid
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-20000:])
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait(server: subprocess.Popen[bytes], client: Client) -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"vLLM stopped with exit code {server.returncode}")
        try:
            client.get("/health")
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"vLLM was not ready after {LIMIT} s")
