"""What each release is asked for, and what is refused: flags.toml, interpreted."""

import json
from typing import Any

import pytest

from vllm_nix.errors import InputError
from vllm_nix.serve import check_arguments, render

DRAFT: dict[str, Any] = {"model": "m", "draft-model": "d", "draft-tokens": 5}


def flags(release: str, device: str = "cuda", **values: Any) -> list[str]:
    profile = {"model": "m", **{key.replace("_", "-"): value for key, value in values.items()}}
    words = render(profile, release, device)
    return list(words[words.index("m") + 1 :])


@pytest.mark.parametrize(
    ("release", "task", "words"),
    [
        ("0.5.1", "embed", []),
        ("0.6.4.post1", "embed", ["--task", "embedding"]),
        ("0.7.3", "embed", ["--task", "embed"]),
        ("0.7.3", "rerank", ["--task", "score"]),
        ("0.12.0", "generate", ["--task", "generate"]),
        ("0.33.0", "generate", ["--runner", "generate"]),
        ("0.33.0", "embed", ["--runner", "pooling", "--convert", "embed"]),
        ("0.33.0", "rerank", ["--runner", "pooling", "--convert", "classify"]),
    ],
)
def test_tasks(release: str, task: str, words: list[str]) -> None:
    assert flags(release, task=task) == words


def test_a_draft_model_by_flags_and_by_json() -> None:
    assert flags("0.7.3", **DRAFT, draft_tensor_parallel_size=1) == [
        *("--speculative-model", "d", "--num-speculative-tokens", "5"),
        *("--speculative-draft-tensor-parallel-size", "1"),
    ]
    flag, value = flags("0.33.0", **DRAFT, draft_tensor_parallel_size=1)
    assert flag == "--speculative-config"
    assert json.loads(value) == {
        "method": "draft_model",
        "model": "d",
        "num_speculative_tokens": 5,
        "draft_tensor_parallel_size": 1,
    }


def test_the_command_before_there_was_one() -> None:
    assert render({"model": "m"}, "0.3.3", "neuron")[:3] == (
        *("python", "-m", "vllm.entrypoints.openai.api_server"),
    )


@pytest.mark.parametrize(
    ("release", "device", "values", "sentence"),
    [
        ("0.3.3", "cuda", DRAFT, "vLLM 0.3.3 has no draft-model: draft models came later"),
        ("0.7.3", "neuron", DRAFT, "vLLM 0.7.3 cannot serve this: its Neuron engine has no specul"),
        ("0.7.3", "neuron", {"prefix-caching": True}, "shares no prefix; prefix-caching = false"),
        ("0.7.3", "neuron", {"chunked-prefill": True}, "as a whole; chunked-prefill = false"),
        ("0.7.3", "neuron", {"task": "embed"}, "its Neuron engine generates text alone"),
        ("0.3.3", "neuron", {"task": "rerank"}, "its Neuron engine generates text alone"),
        ("0.14.1", "cuda", DRAFT, "vLLM 0.14.1 has no draft-model: the engine V1 had no draft"),
        ("0.15.0", "cpu", DRAFT, "cannot serve this: its CPU engine has no speculative decoding"),
        (
            "0.5.5",
            "cuda",
            {**DRAFT, "chunked-prefill": True},
            "vLLM 0.5.5 cannot serve this: speculative decoding and chunked prefill exclude one",
        ),
        (
            "0.6.4.post1",
            "cuda",
            {**DRAFT, "chunked-prefill": True},
            "chunked prefill takes a draft model only with draft-tensor-parallel-size = 1",
        ),
        ("0.3.3", "cuda", {"task": "rerank"}, "0.3.3 has no task = rerank; 0.6.5 has"),
        ("0.3.3", "cuda", {"chunked-prefill": True}, "no chunked-prefill = true; 0.5.1 has"),
        ("0.6.4", "cuda", {"optimization-level": 3}, "optimization-level: torch.compile came"),
        ("0.7.3", "cuda", {"optimization-level": 9}, "0.7.3 has no optimization-level = 9"),
    ],
)
def test_what_a_release_cannot_do(release: str, device: str, values: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        render({"model": "m", **values}, release, device)
    assert sentence in str(caught.value)


def test_what_it_can() -> None:
    assert flags("0.3.3", optimization_level=0) == [], "none is what it has"
    both = {**DRAFT, "chunked-prefill": True}
    assert "--enable-chunked-prefill" in flags("0.7.3", **both)
    assert "--enable-chunked-prefill" in flags("0.33.0", **both)
    assert flags("0.6.4.post1", **both, draft_tensor_parallel_size=1)
    assert flags("0.32.0", device="cpu", **DRAFT)


def test_flags_by_hand_that_the_release_lacks() -> None:
    for release, words, sentence in (
        ("0.33.0", ["--task", "embed"], "vLLM 0.33.0 has no --task; it has --runner"),
        ("0.33.0", ["--num-speculative-tokens=5"], "has no --num-speculative-tokens; it has --sp"),
        ("0.7.3", ["--runner", "pooling"], "vLLM 0.7.3 has no --runner; it has --task"),
        ("0.7.3", ["--speculative-config", "{}"], "has no --speculative-config; it has"),
        ("0.3.3", ["--runner", "pooling"], "^vLLM 0.3.3 has no --runner$"),
        ("0.3.3", ["--task", "embed"], "^vLLM 0.3.3 has no --task$"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_arguments(words, release)
    check_arguments(["--enforce-eager", "--seed", "7"], "0.33.0")
    check_arguments(["--task", "embed"], "0.7.3")
