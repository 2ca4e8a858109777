"""Profiles as a target's file has them, and overridden."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_nix.errors import InputError
from vllm_nix.serve import load_profile, profile_names
from vllm_nix.serve.group import Host
from vllm_nix.targets import load_target, target_names

ALL = [(target, name) for target in target_names() for name in profile_names(target)]
START = {"neuron": ("python", "-m", "vllm.entrypoints.openai.api_server", "--model")}
CHAT = "HuggingFaceTB/SmolLM2-135M-Instruct"  # of the target cpu
PROFILES = ("chat", "embedding", "reranker", "speculative")


@pytest.mark.parametrize(
    "target", ["ascend", "ascend_0_18", "cpu", "cuda", "jetson", "jetson_7", "spark"]
)
def test_a_target_for_every_model_has_the_four(target: str) -> None:
    assert set(PROFILES) <= set(profile_names(target))


@pytest.mark.parametrize("target", target_names())
def test_every_target_chats(target: str) -> None:
    assert "chat" in profile_names(target)


@pytest.mark.parametrize(("target", "name"), ALL)
def test_every_profile_makes_a_command(target: str, name: str) -> None:
    profile = load_profile(target, name)
    nodes = profile.values.get("nodes", 1)
    head = Host(nodes, 0, "10.0.0.1", 29501, None, None) if nodes > 1 else None
    words = profile.command(host=head).words
    assert words[: words.index(profile.values["model"])] == START.get(target, ("vllm", "serve"))
    assert words[words.index("--port") + 1] == str(profile.values["port"])


@pytest.mark.parametrize("target", target_names())
def test_the_profiles_of_a_target_run_side_by_side(target: str) -> None:
    ports = [load_profile(target, name).values["port"] for name in profile_names(target)]
    assert len(set(ports)) == len(ports)


def test_what_runs_beside_a_chat_leaves_gb10s_host_its_memory() -> None:
    """Together no more than the share that `verify` says to start with."""
    shares = [
        load_profile("spark", name).values["memory-share"]
        for name in ("chat", "embedding", "reranker")
    ]
    assert round(sum(shares), 2) <= 0.6


def test_a_target_says_less_than_its_profile_holds() -> None:
    own = load_target("cpu").data["serve"]["embedding"]
    assert own["task"] == "embed"
    assert own["download-dir"] == "~/.cache/vllm-nix/models"


def test_overrides_go_first() -> None:
    command = load_profile("cpu", "chat", {"port": 9000, "chunked-prefill": False}).command()
    assert command.port == 9000
    assert "--no-enable-chunked-prefill" in command.words


def test_the_blocks_of_neurons_cache_are_as_long_as_a_sequence() -> None:
    words = load_profile("neuron", "chat", {"max-model-len": 512}).command().words
    assert words[words.index("--block-size") + 1] == words[words.index("--max-model-len") + 1]
    assert "--block-size" not in load_profile("neuron_0_7", "chat").command().words, "0.7.3 does it"


def test_words_of_vllms_own_come_last() -> None:
    words = load_profile("cpu", "chat").command(["--enforce-eager", "--seed", "7"]).words
    assert words[-3:] == ("--enforce-eager", "--seed", "7")


def test_clients_ask_for_the_model_by_its_name(tmp_path: Path) -> None:
    def served(**overrides: Any) -> str:
        words = load_profile("cpu", "chat", overrides).command().words
        return words[words.index("--served-model-name") + 1]

    assert served() == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert served(model=str(tmp_path / "tiny")) == "tiny"
    assert served(**{"served-model-name": "mine"}) == "mine"


def test_a_model_that_is_here_is_served_from_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / CHAT
    folder.mkdir(parents=True)
    overrides = {"download-dir": str(tmp_path)}
    assert load_profile("cpu", "chat", overrides).command().words[2] == CHAT
    (folder / "config.json").write_text("{}")
    assert load_profile("cpu", "chat", overrides).command().words[2] != str(folder), "half of it"
    (folder / "model.safetensors").write_bytes(b"")
    assert load_profile("cpu", "chat", overrides).command().words[2] == str(folder)


def test_a_model_that_comes_with_the_environment_needs_no_download(tmp_path: Path) -> None:
    own = tmp_path / "result/share/vllm-nix/models" / CHAT
    own.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (own / file).write_text("{}")
    overrides: dict[str, Any] = {"download-dir": str(tmp_path / "downloads")}

    def served(environment: Path | None) -> str:
        return load_profile("cpu", "chat", overrides, environment=environment).command().words[2]

    assert served(tmp_path / "result") == str(own)
    assert served(tmp_path / "other") == served(None) == CHAT
    overrides["model"] = "Qwen/Qwen2.5-0.5B-Instruct"
    assert served(tmp_path / "result") == "Qwen/Qwen2.5-0.5B-Instruct"


def test_the_home_of_the_user_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    command = load_profile("cpu", "chat").command()
    assert command.api_key_file == Path("/home/ada/.config/vllm-nix/api-key")
    folder = command.words[command.words.index("--download-dir") + 1]
    assert folder == "/home/ada/.cache/vllm-nix/models"


@pytest.mark.parametrize(
    ("profile", "overrides", "sentence"),
    [
        ("hat", {}, "target 'cpu' has no profile 'hat'; it has: chat, embedding, reranker, spec"),
        ("chat", {"port": 0}, "cpu chat: port 0 is not between 1 and 65535"),
        ("chat", {"port": "80"}, "cpu chat: serve.chat.port: expected an integer, got a string"),
        ("chat", {"memory-share": 1.5}, "cpu chat: memory-share 1.5 is not between 0 and 1"),
        ("chat", {"tensor-parallel-size": 0}, "cpu chat: tensor-parallel-size 0 is less than 1"),
        ("chat", {"draft-model": "a/b"}, "cpu chat: draft-model needs draft-tokens"),
        ("chat", {"draft-tokens": 5}, "cpu chat: draft-tokens needs draft-model"),
        (
            "chat",
            {"draft-tensor-parallel-size": 1},
            "cpu chat: draft-tensor-parallel-size needs draft-model and draft-tokens",
        ),
        ("chat", {"optimisation": 3}, "cpu chat: unknown key 'serve.chat.optimisation'; known"),
        ("chat", {"model": "--help"}, 'serve.chat.model: "--help" is not a model\'s name or fol'),
    ],
)
def test_bad_input_is_one_sentence(profile: str, overrides: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        load_profile("cpu", profile, overrides)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def folder_of(path: Path, size: int) -> str:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({}))
    (path / "model.safetensors").write_bytes(bytes(size))
    return str(path)


def test_a_draft_larger_than_the_model_is_refused_by_its_files(tmp_path: Path) -> None:
    """Whatever their names say."""
    small, large = folder_of(tmp_path / "small-9B", 10), folder_of(tmp_path / "large-1B", 20)
    with pytest.raises(InputError, match=r"large-1B \(2e-08 GB\) is larger than the model"):
        load_profile("cpu", "speculative", {"model": small, "draft-model": large}).command()
    assert load_profile("cpu", "speculative", {"model": large, "draft-model": small}).command()


@pytest.mark.parametrize(
    ("model", "draft", "is_refused"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct", True),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct-AWQ", False),
        ("google/gemma-3-270m-it", "google/gemma-3-1b-it", True),
        ("google/gemma-3-1b-it", "google/gemma-3-270m-it", False),
        ("mistralai/Mixtral-8x7B-v0.1", "a/no-size", False),
        ("someone/unsized", "Qwen/Qwen2.5-72B", False),
        ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B", False),
    ],
)
def test_or_by_the_sizes_in_the_names(model: str, draft: str, is_refused: bool) -> None:
    profile = load_profile("cpu", "speculative", {"model": model, "draft-model": draft})
    if is_refused:
        with pytest.raises(InputError, match="give a smaller --draft-model"):
            profile.command()
    else:
        assert profile.command().words
