"""Child processes that end when their work is no longer wanted."""

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from vllm_nix.errors import Error, Unavailable


class Children:
    """Runs commands from several threads; `stop` ends those that run and refuses further ones."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[int, str]:
        """The exit code of a command, and its output with its errors, in English."""
        with self._lock:
            if self._stopped:
                raise Error("stopped")
            try:
                child = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env={**os.environ, "LC_ALL": "C.UTF-8", **env},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                )
            except OSError as error:
                raise Unavailable(f"cannot run {command[0]}: {error.strerror}") from error
            self._running.add(child)
        output, _ = child.communicate()
        with self._lock:
            self._running.discard(child)
        return child.returncode, output

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for child in self._running:
                child.terminate()
