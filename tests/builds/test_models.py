"""The models that come with a target: what their folders hold, and that they come out the same."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Nix

pytestmark = pytest.mark.nix

CHAT = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDING = "sentence-transformers/all-MiniLM-L6-v2"


def model(name: str) -> str:
    scope = "(import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages.cpu"
    return f'({scope}.model "{name}")'


@pytest.fixture(scope="module")
def models(environment: Path) -> Path:
    return environment / "share/vllm-nix/models"


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def tensors(folder: Path) -> dict[str, dict[str, Any]]:
    """The header of the weights (https://huggingface.co/docs/safetensors, "Format")."""
    with (folder / "model.safetensors").open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header: dict[str, dict[str, Any]] = json.loads(stream.read(size))
    header.pop("__metadata__", None)
    return header


def test_the_chat_model_is_whole(models: Path) -> None:
    folder = models / CHAT
    assert {file.name for file in folder.iterdir()} == {
        *("chat_template.jinja", "config.json", "generation_config.json"),
        *("model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    config, weights = read(folder, "config.json"), tensors(folder)
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert {each["dtype"] for each in weights.values()} == {"BF16"}
    assert sum(math.prod(each["shape"]) for each in weights.values()) == 134_515_008
    assert "quantization_config" not in config
    assert len(read(folder, "tokenizer.json")["model"]["vocab"]) == config["vocab_size"] == 49152
    assert "<|im_start|>" in (folder / "chat_template.jinja").read_text()


def test_the_one_for_embeddings_is_whole(models: Path) -> None:
    folder = models / EMBEDDING
    assert read(folder, "config.json")["hidden_size"] == 384
    assert read(folder, "1_Pooling/config.json")["pooling_mode_mean_tokens"] is True
    assert sum(math.prod(each["shape"]) for each in tensors(folder).values()) > 22_000_000


@pytest.mark.parametrize("name", [CHAT, EMBEDDING])
def test_a_models_licence_is_named(nix: Nix, name: str) -> None:
    expression = f"{model(name)}.meta.license.spdxId"
    result = nix("nix-instantiate", "--eval", "--json", "--expr", expression)
    assert json.loads(result.stdout) == "Apache-2.0"


def test_a_model_that_nobody_has_packaged(nix: Nix) -> None:
    assert f"no model 'openai/gpt-oss' is known here; there are: {CHAT}, {EMBEDDING}" in nix.fail(
        model("openai/gpt-oss")
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [CHAT, EMBEDDING])
def test_made_again_it_is_the_same_to_the_bit(nix: Nix, name: str) -> None:
    nix.build(model(name))
    nix("nix-build", "--check", "--no-out-link", "--expr", model(name))
