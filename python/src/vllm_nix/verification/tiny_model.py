"""A two-layer Qwen2 checkpoint of random weights, and what it must answer.

The weights are a pure function of a seed, so the right tokens can be worked out here, in double
precision and without torch: an engine that computes something else is found out, not only one that
crashes. Everything is written with the standard library, so nothing under test has a hand in it.
"""

import json
import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD, INTERMEDIATE, VOCABULARY = 64, 2, 2, 1, 32, 128, 512
EPSILON, THETA = 1e-6, 10000.0
# Chosen for the distance between its best and second-best logits, so that an engine which rounds to
# bfloat16 still gives the same tokens (tests/verification/test_tiny_model.py holds it to that).
SEED = 73
END = "<|endoftext|>"
TEXT = "once there was a nation"
# TEXT as the `tokenizers` library splits it with this vocabulary.
PROMPT = (309, 448, 32, 279, 264, 101, 32, 119, 294, 32, 97, 32, 338, 276, 309)

Vector = list[float]
Matrix = list[Vector]


@dataclass(frozen=True, slots=True)
class TinyModel:
    """The named weights, row-major, as `Qwen2ForCausalLM` names and shapes them."""

    weights: dict[str, Matrix] = field(repr=False)  # 139,840 numbers

    @classmethod
    def make(cls, seed: int = SEED) -> "TinyModel":
        source = random.Random(seed)
        return cls({name: _random(source, name, shape) for name, shape in _shapes().items()})

    def write(self, folder: Path) -> None:
        """Writes a checkpoint folder that `transformers` and vLLM load offline."""
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / "config.json", _config())
        _write_json(folder / "tokenizer.json", _tokenizer())
        _write_json(
            folder / "tokenizer_config.json",
            {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END},
        )
        (folder / "model.safetensors").write_bytes(self._safetensors())

    def answer(self, prompt: Sequence[int], count: int) -> list[int]:
        """The `count` most likely token ids after `prompt`, one after the other."""
        tokens = list(prompt)
        caches: list[_Cache] = [([], []) for _ in range(LAYERS)]
        for position in range(len(prompt) + count - 1):
            logits = self.logits(tokens[position], position, caches)
            if position >= len(prompt) - 1:
                tokens.append(max(range(VOCABULARY), key=logits.__getitem__))
        return tokens[len(prompt) :]

    def logits(self, token: int, position: int, caches: list["_Cache"]) -> Vector:
        """One step of the model: the score of each token that may follow `token`."""
        return _apply(self.weights["lm_head.weight"], self.state(token, position, caches))

    def last_state(self, prompt: Sequence[int]) -> Vector:
        """The state at the end of `prompt`, which pooling models give or judge."""
        caches: list[_Cache] = [([], []) for _ in range(LAYERS)]
        return [self.state(token, i, caches) for i, token in enumerate(prompt)][-1]

    def state(self, token: int, position: int, caches: list["_Cache"]) -> Vector:
        """One step of the model up to its last norm."""
        weights = self.weights
        state = weights["model.embed_tokens.weight"][token]
        for layer, cache in enumerate(caches):
            prefix = f"model.layers.{layer}."
            normal = _normalise(state, weights[prefix + "input_layernorm.weight"][0])
            state = _add(state, self._attend(prefix + "self_attn.", normal, position, cache))
            normal = _normalise(state, weights[prefix + "post_attention_layernorm.weight"][0])
            gate = _apply(weights[prefix + "mlp.gate_proj.weight"], normal)
            up = _apply(weights[prefix + "mlp.up_proj.weight"], normal)
            inner = [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up, strict=True)]
            state = _add(state, _apply(weights[prefix + "mlp.down_proj.weight"], inner))
        return _normalise(state, weights["model.norm.weight"][0])

    def _attend(self, prefix: str, state: Vector, position: int, cache: "_Cache") -> Vector:
        query, key, value = (
            _add(
                _apply(self.weights[f"{prefix}{name}_proj.weight"], state),
                self.weights[f"{prefix}{name}_proj.bias"][0],
            )
            for name in ("q", "k", "v")
        )
        keys, values = cache
        keys.append([_rotate(part, position) for part in _heads(key)])
        values.append(_heads(value))
        attended: Vector = []
        for head, part in enumerate(_heads(query)):
            group = head * KV_HEADS // HEADS
            turned = _rotate(part, position)
            scores = [_dot(turned, past[group]) / math.sqrt(HEAD) for past in keys]
            shares = _softmax(scores)
            attended += [
                sum(share * past[group][i] for share, past in zip(shares, values, strict=True))
                for i in range(HEAD)
            ]
        return _apply(self.weights[prefix + "o_proj.weight"], attended)

    def _safetensors(self) -> bytes:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        data = bytearray()
        for name, rows in self.weights.items():
            start = len(data)
            for row in rows:
                words = array("H", array("f", row).tobytes())
                data += words[1::2].tobytes()  # the upper half of a float32 is its bfloat16
            shape = _shapes().get(name, [len(rows), len(rows[0])])
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, len(data)]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + data


# Per layer: the keys and the values of every position so far, split by head.
_Cache = tuple[list[Matrix], list[Matrix]]


def _shapes() -> dict[str, list[int]]:
    shapes = {"model.embed_tokens.weight": [VOCABULARY, HIDDEN]}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q", HEADS * HEAD), ("k", KV_HEADS * HEAD), ("v", KV_HEADS * HEAD)):
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = [rows, HIDDEN]
            shapes[f"{prefix}self_attn.{name}_proj.bias"] = [rows]
        shapes[prefix + "self_attn.o_proj.weight"] = [HIDDEN, HEADS * HEAD]
        shapes[prefix + "mlp.gate_proj.weight"] = [INTERMEDIATE, HIDDEN]
        shapes[prefix + "mlp.up_proj.weight"] = [INTERMEDIATE, HIDDEN]
        shapes[prefix + "mlp.down_proj.weight"] = [HIDDEN, INTERMEDIATE]
        shapes[prefix + "input_layernorm.weight"] = [HIDDEN]
        shapes[prefix + "post_attention_layernorm.weight"] = [HIDDEN]
    shapes["model.norm.weight"] = [HIDDEN]
    shapes["lm_head.weight"] = [VOCABULARY, HIDDEN]
    return shapes


def _random(source: random.Random, name: str, shape: list[int]) -> Matrix:
    rows, columns = (1, shape[0]) if len(shape) == 1 else shape
    if name.endswith("norm.weight"):
        return [[1.0] * columns]
    # Large enough for attention to pick single positions out: a mistake in it then changes tokens.
    scale = 1.0 if "embed" in name else 1.5 / math.sqrt(HIDDEN)
    return [_bfloat16([source.gauss(0, scale) for _ in range(columns)]) for _ in range(rows)]


def _bfloat16(values: Vector) -> Vector:
    """The values as the checkpoint holds them: float32 without its lower sixteen bits."""
    words = array("H", array("f", values).tobytes())
    words[::2] = array("H", bytes(2 * len(values)))
    return list(array("f", words.tobytes()))


def _dot(left: Vector, right: Vector) -> float:
    return sum(map(float.__mul__, left, right))


def _apply(matrix: Matrix, vector: Vector) -> Vector:
    return [_dot(row, vector) for row in matrix]


def _add(left: Vector, right: Vector) -> Vector:
    return [a + b for a, b in zip(left, right, strict=True)]


def _heads(vector: Vector) -> Matrix:
    return [vector[i : i + HEAD] for i in range(0, len(vector), HEAD)]


def _normalise(vector: Vector, weight: Vector) -> Vector:
    scale = 1 / math.sqrt(_dot(vector, vector) / len(vector) + EPSILON)
    return [x * scale * w for x, w in zip(vector, weight, strict=True)]


def _softmax(scores: Vector) -> Vector:
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    return [power / sum(powers) for power in powers]


def _rotate(vector: Vector, position: int) -> Vector:
    """Rotary embedding as Qwen2 pairs it: element i with element i + half."""
    half = HEAD // 2
    turned = vector[:]
    for i in range(half):
        angle = position * THETA ** (-i / half)
        cosine, sine = math.cos(angle), math.sin(angle)
        turned[i] = vector[i] * cosine - vector[i + half] * sine
        turned[i + half] = vector[i + half] * cosine + vector[i] * sine
    return turned


def _config() -> dict[str, object]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "intermediate_size": INTERMEDIATE,
        "vocab_size": VOCABULARY,
        "hidden_act": "silu",
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "eos_token_id": VOCABULARY - 1,
        "torch_dtype": "bfloat16",
    }


def _tokenizer() -> dict[str, object]:
    """Byte-level BPE: the 256 bytes, 255 pairs of common letters, and the end mark."""
    alphabet = _byte_characters()
    pairs = list(product("etaoinshrdlucmfw", repeat=2))[: VOCABULARY - 1 - len(alphabet)]
    vocabulary = [*alphabet, *(left + right for left, right in pairs)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    end = {"id": len(vocabulary), "content": END, "special": True, "normalized": False}
    return {
        "version": "1.0",
        "added_tokens": [end | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)],
        "pre_tokenizer": byte_level | {"use_regex": True},
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate([*vocabulary, END])},
            "merges": [f"{left} {right}" for left, right in pairs],
        },
    }


def _byte_characters() -> list[str]:
    """The printable stand-in of each byte in GPT-2's byte-level alphabet."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    stand_in = {byte: chr(byte) for byte in shown}
    stand_in |= {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    return [stand_in[byte] for byte in range(256)]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
