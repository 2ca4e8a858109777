"""Serves a profile of the CPU target with a tiny model, by `vllm-nix serve`, and asks it.

    profiles.py ENVIRONMENT PROFILE...

The right answers are known: they are worked out in plain Python (vllm_nix.verification.tiny_model).
Exit code 0 when all of them are given, and none to a client without the API key.
"""

import json
import math
import random
import sys
import tempfile
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server import Client, free_port, running

from vllm_nix.verification.tiny_model import HIDDEN, PROMPT, TEXT, TinyModel

KEY = "the-key-of-the-clients"
# Letters of no pair in the vocabulary: each is the token of its byte.
OTHER = "zqv xqz"


def chat(client: Client, model: TinyModel) -> str:
    body = {"model": "tiny", "prompt": TEXT, "max_tokens": 8, "temperature": 0}
    refuses_strangers(client, "/v1/completions", body)
    answer = client.post("/v1/completions", body | {"return_token_ids": True})["choices"][0]
    assert answer["token_ids"] == model.answer(PROMPT, 8), answer
    return f"{TEXT!r} goes on with {answer['text']!r}"


def speculative(client: Client, model: TinyModel) -> str:
    """The draft is the model itself, so that it drafts what the model would say."""
    said = chat(client, model)
    drafted = metric(client, "vllm:spec_decode_num_draft_tokens_total")
    accepted = metric(client, "vllm:spec_decode_num_accepted_tokens_total")
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
    assert max(scores.values()) - min(scores.values()) > 0.1, "they differ"
    return f"scores {', '.join(f'{scores[i]:.3f}' for i in sorted(scores))}"


def refuses_strangers(client: Client, path: str, body: Any) -> None:
    for key in (None, "another"):
        try:
            Client(client.port, key).post(path, body)
        except urllib.error.HTTPError as error:
            assert error.code == 401
        else:
            raise AssertionError(f"{path} answers a client whose key is {key}")


def metric(client: Client, name: str) -> float:
    """The sum of a counter in vLLM's metrics."""
    lines = [line for line in client.get("/metrics").splitlines() if line.startswith(name)]
    assert lines, f"no {name} in /metrics"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


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


def ask(environment: Path, profile: str, folder: Path) -> str:
    """What a server of the profile said; raises `AssertionError` where it is wrong."""
    started, port = time.monotonic(), free_port()
    model = write_model(profile, folder / "tiny")
    key = folder / "key"
    key.touch(mode=0o600)
    key.write_text(KEY)
    command: list[str | Path] = [sys.executable, "-m", "vllm_nix", "serve", "cpu", profile]
    command += ["--environment", environment, "--model", folder / "tiny", "--port", str(port)]
    command += ["--api-key-file", key, "--download-dir", folder, "--max-model-len", "128"]
    if profile == "speculative":
        command += ["--draft-model", folder / "tiny"]
    if profile != "chat":  # which compiles, as its optimisation level says
        command += ["--", "--enforce-eager"]
    client = Client(port, KEY)
    with running(command, folder, client) as server:
        ready = time.monotonic() - started
        shown = Path(f"/proc/{server}/cmdline").read_bytes()
        assert KEY.encode() not in shown, "a process list shows the key"
        return f"{PROFILES[profile](client, model)}; ready after {ready:.0f} s"


def main() -> None:
    environment = Path(sys.argv[1]).resolve()
    for profile in sys.argv[2:]:
        with tempfile.TemporaryDirectory() as name:
            print(f"{profile}: {ask(environment, profile, Path(name))}", flush=True)


if __name__ == "__main__":
    main()
