"""Serves a tiny model with an environment's vLLM and asks it, as a user would.

    serve.py ENVIRONMENT

The model's right answer is known (vllm_nix.verification.tiny_model), so a wrong one is found out. While
the server runs, its processes are held against the rule that they map no library of the host.
Exit code 0 when both hold.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from server import Client, free_port, running

from vllm_nix.verification.tiny_model import PROMPT, TEXT, TinyModel

TOKENS = 8


def main() -> int:
    environment = Path(sys.argv[1]).resolve()
    manifest = json.loads((environment / "share/vllm-nix/target.json").read_text())
    body = {"model": "tiny", "prompt": TEXT, "max_tokens": TOKENS, "temperature": 0}
    model, port = TinyModel.make(), free_port()
    client, started = Client(port), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.write(folder / "model")
        command: list[str | Path] = [environment / "bin/vllm", "serve", folder / "model"]
        command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)]
        with running(command, folder, client) as session:
            print(f"vLLM is ready after {time.monotonic() - started:.0f} s")
            answer = client.post("/v1/completions", body | {"return_token_ids": True})
            foreign = host_files(session, [*map(Path, ("/nix/store", "/dev")), folder])
    choice = answer["choices"][0]
    print(f"{TEXT!r} goes on with {choice['text']!r}")
    drivers = set(manifest["driver-libraries"])
    leaks = sorted(path for path in foreign if Path(path).name not in drivers)
    print(f"files of the host that it maps: {', '.join(leaks) or 'none'}")
    right = choice["token_ids"] == model.answer(PROMPT, TOKENS)
    print(f"the answer is {'right' if right else 'WRONG'}")
    return 0 if right and not leaks else 1


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
