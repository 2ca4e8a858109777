"""A model whose next token is a sum over all before it, kept in slots as Neuron's cache is.

A token that lands in another sequence's slot, or at another place in its own, changes what follows.
"""

from pathlib import Path
from typing import Any

import torch

VOCABULARY = 512


def following(tokens: list[int]) -> int:
    return (7 * sum(tokens) + len(tokens)) % VOCABULARY


class LlamaForSampling:
    def __init__(self, options: dict[str, Any]) -> None:
        self.length = options["n_positions"][-1]
        self.slots: list[list[int]] = [[] for _ in range(options["batch_size"])]
        self.is_compiled = False

    @classmethod
    def from_pretrained(cls, folder: str, **options: Any) -> "LlamaForSampling":
        assert Path(folder, "model.safetensors").is_file()
        assert options["tp_degree"] == 2
        assert options["context_length_estimate"] == options["n_positions"]
        shared = options["neuron_config"].continuous_batching.batch_size_for_shared_caches
        assert shared == options["batch_size"]
        return cls(options)

    def to_neuron(self) -> None:
        self.is_compiled = True

    def __call__(
        self, input_ids: torch.Tensor, cache_ids: torch.Tensor, start_ids: torch.Tensor
    ) -> torch.Tensor:
        assert self.is_compiled
        assert input_ids.shape == cache_ids.shape
        assert len(start_ids) == len(input_ids)
        logits = torch.zeros(len(input_ids), VOCABULARY)
        rows = zip(input_ids.tolist(), cache_ids.tolist(), start_ids.tolist(), strict=True)
        for row, (ids, places, slot) in enumerate(rows):
            if places[0] == 0:
                self.slots[slot].clear()
            assert places == list(range(len(self.slots[slot]), len(self.slots[slot]) + len(ids)))
            self.slots[slot] += ids
            assert len(self.slots[slot]) <= self.length
            logits[row, following(self.slots[slot])] = 1
        return logits
