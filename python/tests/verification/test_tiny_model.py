import json
import math
import statistics
from array import array
from itertools import pairwise
from pathlib import Path

import pytest

from vllm_nix.verification import tiny_model
from vllm_nix.verification.checks.vllm import COUNT
from vllm_nix.verification.tiny_model import PROMPT, TEXT, TinyModel


@pytest.fixture(scope="module")
def model() -> TinyModel:
    return TinyModel.make()


@pytest.fixture(scope="module")
def folder(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model.write(folder)
    return folder


def test_each_token_is_clearly_the_best(model: TinyModel) -> None:
    """bfloat16 keeps 8 bits: its noise, a few per cent of the spread, must not change a token."""
    tokens = [*PROMPT, *model.answer(PROMPT, COUNT)]
    caches: list[tiny_model._Cache] = [([], []) for _ in range(tiny_model.LAYERS)]
    for position, token in enumerate(tokens[:-1]):
        logits = model.logits(token, position, caches)
        if position >= len(PROMPT) - 1:
            best, second = sorted(logits, reverse=True)[:2]
            assert best - second > 0.25 * statistics.pstdev(logits)


@pytest.mark.parametrize(
    ("function", "broken"),
    [
        ("_rotate", lambda vector, position: vector),
        ("_softmax", lambda scores: [1 / len(scores)] * len(scores)),
        ("_softmax", lambda scores: [0.0] * (len(scores) - 1) + [1.0]),
        ("_normalise", lambda vector, weight: vector),
    ],
    ids=["no rotation", "even attention", "no attention", "no norm"],
)
def test_a_broken_kernel_changes_the_tokens(
    model: TinyModel, monkeypatch: pytest.MonkeyPatch, function: str, broken: object
) -> None:
    right = model.answer(PROMPT, COUNT)
    monkeypatch.setattr(tiny_model, function, broken)
    assert model.answer(PROMPT, COUNT) != right


def test_the_prompt_is_the_text(folder: Path) -> None:
    """Splits the text by the written vocabulary and merges, as byte-level BPE does."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(model["merges"])}
    tokens: list[int] = []
    for word in TEXT.replace(" ", " Ġ").split(" "):
        parts = list(word)
        while pairs := [p for p in pairwise(parts) if p in ranks]:
            best = min(pairs, key=ranks.__getitem__)
            at = next(i for i in range(len(parts)) if (parts[i], parts[i + 1]) == best)
            parts[at : at + 2] = ["".join(best)]
        tokens += [model["vocab"][part] for part in parts]
    assert tuple(tokens) == PROMPT


def test_vocabulary_is_whole(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    ids = sorted(tokenizer["model"]["vocab"].values())
    assert ids == list(range(tiny_model.VOCABULARY))
    assert tokenizer["added_tokens"][0]["id"] == ids[-1]


def test_the_file_holds_the_weights(model: TinyModel, folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    name = "model.layers.1.self_attn.k_proj.weight"
    start, end = header[name]["data_offsets"]
    assert header[name]["shape"] == [len(model.weights[name]), len(model.weights[name][0])]
    halves = array("H", body[start:end])
    words = array("H", bytes(4 * len(halves)))
    words[1::2] = halves
    assert list(array("f", words.tobytes())) == [x for row in model.weights[name] for x in row]
    assert max(tensor["data_offsets"][1] for key, tensor in header.items() if key[0] != "_") == len(
        body
    )
    assert len(body) == 2 * sum(
        math.prod(tensor["shape"]) for key, tensor in header.items() if key[0] != "_"
    )


def test_seeds_differ(model: TinyModel) -> None:
    assert TinyModel.make(1).answer(PROMPT, COUNT) != model.answer(PROMPT, COUNT)
