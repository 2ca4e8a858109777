"""Serves a tiny model with an environment's vLLM and asks it, as a user would.

    serve.py ENVIRONMENT

The model's right answer is known (vllm_nix.verification.tiny_model), so a wrong one is found out. While
the server runs, its processes are held against the rule that they map no library of the host.
Exit code 0 when both hold.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from vllm_nix.verification.tiny_model import PROMPT, TEXT, TinyModel

LIMIT = 300  # seconds until the server must be ready
TOKENS = 8


def main() -> int:
    environment = Path(sys.argv[1]).resolve()
    manifest = json.loads((environment / "share/vllm-nix/target.json").read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = TinyModel.make()
        model.write(folder / "model")
        port = free_port()
        started = time.monotonic()
        with (folder / "log").open("w+") as log:
            server = start(environment, folder, port, log)
            try:
                wait(server, port)
                print(f"vLLM is ready after {time.monotonic() - started:.0f} s")
                answer = post(
                    port,
                    "/v1/completions",
                    {
                        "model": "tiny",
                        "prompt": TEXT,
                        "max_tokens": TOKENS,
                        "temperature": 0,
                        "return_token_ids": True,
                    },
                )
                foreign = host_files(server.pid, [*map(Path, ("/nix/store", "/dev")), folder])
            except Exception:
                log.seek(0)
                sys.stderr.write(log.read()[-20000:])
                raise
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, signal.SIGKILL)
                server.wait()
    choice = answer["choices"][0]
    print(f"{TEXT!r} goes on with {choice['text']!r}")
    drivers = set(manifest["driver-libraries"])
    leaks = sorted(path for path in foreign if Path(path).name not in drivers)
    print(f"files of the host that it maps: {', '.join(leaks) or 'none'}")
    right = choice["token_ids"] == model.answer(PROMPT, TOKENS)
    print(f"the answer is {'right' if right else 'WRONG'}")
    return 0 if right and not leaks else 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(environment: Path, folder: Path, port: int, log: Any) -> subprocess.Popen[bytes]:
    variables = {
        "HF_HUB_OFFLINE": "1",
        "HOME": str(folder),
        "PATH": "/nonexistent",  # everything it calls must come with it
        "TMPDIR": str(folder),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    arguments = [
        "--served-model-name",
        "tiny",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    return subprocess.Popen(
        [environment / "bin/vllm", "serve", folder / "model", *arguments],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        start_new_session=True,
    )


def wait(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"vLLM stopped with exit code {server.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise RuntimeError(f"vLLM was not ready after {LIMIT} s")


def post(port: int, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


def host_files(session: int, own: list[Path]) -> set[str]:
    """The files mapped by the processes of a session that lie in none of `own`."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(process.name)) != session:
                continue
            maps = (process / "maps").read_text()
        except (OSError, ProcessLookupError):
            continue
        for line in maps.splitlines():
            path = line.partition("/")[1] + line.partition("/")[2]
            if path and not any(Path(path).is_relative_to(folder) for folder in own):
                found.add(path)
    return found - {path for path in found if path.startswith("/memfd:")}


if __name__ == "__main__":
    sys.exit(main())
