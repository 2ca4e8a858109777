"""The models that come with the CPU target, asked as a user asks: without a hub, and with sense."""

import json
import math
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vllm_nix.serve import load_profile
from vllm_nix.serve.chat import Server, free_port, running
from vllm_nix.serve.command import release_of

pytestmark = [pytest.mark.nix, pytest.mark.slow]

EMBEDDING = "sentence-transformers/all-MiniLM-L6-v2"
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}


@contextmanager
def served(profile: str, environment: Path, folder: Path) -> Iterator[Server]:
    """A profile's server, ready; no model is in its folder of downloads."""
    port = free_port()
    values = {"port": port, "download-dir": str(folder / "downloads")}
    release = release_of(environment)
    loaded = load_profile("cpu", profile, values, release=release, environment=environment)
    words = loaded.command(["--enforce-eager"]).words
    log = folder / "log"
    with running(words, environment, OFFLINE, port=port, key="a-key", log=log) as server:
        for _ in server.wait(900):
            pass
        yield server


def test_chat(environment: Path, tmp_path: Path) -> None:
    question = "What is the capital of France? Answer in one sentence."
    with served("chat", environment, tmp_path) as server:
        pieces = list(server.ask("HuggingFaceTB/SmolLM2-135M-Instruct", question, 40))
    assert "".join(piece.text for piece in pieces) == "The capital of France is Paris."
    assert [piece.tokens for piece in pieces if piece.tokens] == [8]
    assert sum(bool(piece.text) for piece in pieces) > 3, "it comes piece by piece"


def test_embedding(environment: Path, tmp_path: Path) -> None:
    body = {"model": EMBEDDING, "input": ["cat", "kitten", "stock market"]}
    with served("embedding", environment, tmp_path) as server:
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/v1/embeddings",
            json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {server.key}"},
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            cat, kitten, market = [each["embedding"] for each in json.load(response)["data"]]
    assert len(cat) == 384
    assert math.isclose(math.hypot(*cat), 1, rel_tol=1e-3)
    assert dot(cat, kitten) > 0.5
    assert dot(cat, market) < 0.2


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
