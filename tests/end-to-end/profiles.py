"""Serves a profile of the CPU target with a tiny model, by `vllm-nix serve`, and asks it.

    profiles.py ENVIRONMENT PROFILE...

The right answers are known: they are worked out in plain Python (vllm_nix.verification.tiny_model).
Exit code 0 when all of them are given, and none to a client without the API key.
"""

import contextlib
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vllm_nix.verification.tiny_model import HIDDEN, PROMPT, TEXT, TinyModel

LIMIT = 900  # seconds until a server must be ready; 50 on a machine that does nothing else
KEY = "the-key-of-the-clients"
# Letters of no pair in the vocabulary: each is the token of its byte.
OTHER = "zqv xqz"


class Client:
    """Asks one server, as a user of it would."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=10) as response:
            return str(response.read().decode())

    def post(self, path: str, body: Any, key: str | None = KEY) -> Any:
        headers = {"content-type": "application/json"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)

    def status(self, path: str, body: Any, key: str | None) -> int:
        try:
            self.post(path, body, key)
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def metric(self, name: str) -> float:
        """The sum of a counter in vLLM's metrics."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(name)]
        assert lines, f"no {name} in /metrics"
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def chat(client: Client, model: TinyModel) -> str:
    body = {"model": "tiny", "prompt": TEXT, "max_tokens": 8, "temperature": 0}
    refuses_strangers(client, "/v1/completions", body)
    answer = client.post("/v1/completions", body | {"return_token_ids": True})["choices"][0]
    assert answer["token_ids"] == model.answer(PROMPT, 8), answer
    return f"{TEXT!r} goes on with {answer['text']!r}"


def speculative(client: Client, model: TinyModel) -> str:
    """The draft is the model itself, so that it drafts what the model would say."""
    said = chat(client, model)
    drafted = client.metric("vllm:spec_decode_num_draft_tokens_total")
    accepted = client.metric("vllm:spec_decode_num_accepted_tokens_total")
    assert accepted >= 5, f"{accepted} of {drafted} draft tokens accepted"
    return f"{said}; {accepted:g} of {drafted:g} draft tokens accepted"


def embedding(client: Client, model: TinyModel) -> str:
    body = {"model": "tiny", "input": [TEXT, OTHER, TEXT]}
    refuses_strangers(client, "/v1/embeddings", body)
    vectors = [each["embedding"] for each in client.post("/v1/embeddings", body)["data"]]
    for vector, tokens in zip(vectors, (PROMPT, OTHER.encode(), PROMPT), strict=True):
        assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-3), "its length is 1"
        assert cosine(vector, model.last_state(list(tokens))) > 0.999
    assert cosine(vectors[0], vectors[2]) > 0.999999, "the same text, the same vector"
    assert cosine(vectors[0], vectors[1]) < 0.9, "another text, another vector"
    return f"vectors of {len(vectors[0])} numbers"


def reranker(client: Client, model: TinyModel) -> str:
    documents = [TEXT, OTHER, "qzvx"]
    body = {"model": "tiny", "query": OTHER, "documents": documents}
    refuses_strangers(client, "/v1/rerank", body)
    results = client.post("/v1/rerank", body)["results"]
    scores = {each["index"]: each["relevance_score"] for each in results}
    for i, tokens in enumerate((PROMPT, OTHER.encode(), b"qzvx")):
        right = score(model, [*OTHER.encode(), *tokens])
        assert math.isclose(scores[i], right, abs_tol=0.02), (documents[i], scores[i], right)
    assert [each["index"] for each in results] == sorted(scores, key=scores.get, reverse=True)  # type: ignore[arg-type]
    assert max(scores.values()) - min(scores.values()) > 0.1, "they are told apart"
    return f"scores {', '.join(f'{scores[i]:.3f}' for i in sorted(scores))}"


def refuses_strangers(client: Client, path: str, body: Any) -> None:
    assert client.status(path, body, key=None) == 401
    assert client.status(path, body, key="another") == 401


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.hypot(*one) / math.hypot(*other)


def score(model: TinyModel, tokens: list[int]) -> float:
    state, weight = model.last_state(tokens), model.weights["score.weight"][0]
    return 1 / (1 + math.exp(-sum(a * b for a, b in zip(state, weight, strict=True))))


def write_model(profile: str, folder: Path) -> TinyModel:
    """A tiny checkpoint of the kind that a profile serves."""
    model = TinyModel.make()
    if profile != "reranker":
        model.write(folder)
        return model
    source = random.Random(1)
    head = [round(source.gauss(0, 0.25) * 256) / 256 for _ in range(HIDDEN)]  # exact in bfloat16
    model = TinyModel({**model.weights, "score.weight": [head]})
    del model.weights["lm_head.weight"]
    model.write(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["Qwen2ForSequenceClassification"], "num_labels": 1}
    (folder / "config.json").write_text(json.dumps(config))
    return model


PROFILES: dict[str, Callable[[Client, TinyModel], str]] = {
    "chat": chat,
    "speculative": speculative,
    "embedding": embedding,
    "reranker": reranker,
}


@contextlib.contextmanager
def served(environment: Path, profile: str, folder: Path) -> Iterator[tuple[Client, TinyModel]]:
    """A server of the profile, ready; what it said is shown if something fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    model = write_model(profile, folder / "tiny")
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_text(KEY)
    words = [
        sys.executable,
        "-m",
        "vllm_nix",
        "serve",
        "cpu",
        profile,
        "--environment",
        environment,
    ]
    words += ["--model", folder / "tiny", "--port", str(port), "--api-key-file", key]
    words += ["--download-dir", folder, "--max-model-len", "128"]
    if profile == "speculative":
        words += ["--draft-model", folder / "tiny"]
    if profile != "chat":  # which compiles, as its optimisation level says
        words += ["--", "--enforce-eager"]
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
            words, env=variables, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
        try:
            client = Client(port)
            wait(server, client)
            commands = Path(f"/proc/{server.pid}/cmdline").read_bytes()
            assert KEY.encode() not in commands, "a process list shows the key"
            yield client, model
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


def main() -> None:
    environment = Path(sys.argv[1]).resolve()
    for profile in sys.argv[2:]:
        started = time.monotonic()
        with (
            tempfile.TemporaryDirectory() as name,
            served(environment, profile, Path(name)) as (client, model),
        ):
            ready = time.monotonic() - started
            said = PROFILES[profile](client, model)
            print(f"{profile}: {said}; ready after {ready:.0f} s", flush=True)


if __name__ == "__main__":
    main()
