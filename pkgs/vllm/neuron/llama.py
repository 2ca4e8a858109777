"""Llama on transformers-neuronx, which holds the weights and the cache, and computes the logits.

vLLM 0.3.3 names this module in its registry of models (vllm/model_executor/models/__init__.py); its
source archive lacks it.
"""

from pathlib import Path

import torch
from vllm.model_executor.layers.sampler import Sampler


class LlamaForCausalLM(torch.nn.Module):
    def __init__(self, config, linear_method=None):
        super().__init__()
        self.config = config
        self.sampler = Sampler(config.vocab_size)

    def load_weights(self, model, cache_dir=None, load_format="auto", revision=None, **options):
        """`options` are LlamaForSampling's; its cache has one slot of `n_positions` tokens per sequence."""
        from transformers_neuronx.llama.model import LlamaForSampling

        folder = Path(model)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(model, cache_dir=cache_dir, revision=revision))
        self.block_size = options["n_positions"][-1]
        self.model = LlamaForSampling.from_pretrained(str(in_one_file(folder)), **options)
        self.model.to_neuron()

    def forward(self, input_ids, positions, kv_caches, input_metadata):
        """The logits of each sequence's next token: [sequences, vocabulary]."""
        if not input_metadata.is_prompt:
            slots = input_metadata.block_tables.flatten()
            return self.model(input_ids, cache_ids=positions, start_ids=slots)
        # One by one: it takes the logits at the last column, which in a shorter prompt is padding.
        slots = input_metadata.slot_mapping[:, :1] // self.block_size
        rows = zip(input_ids, positions, slots, input_metadata.prompt_lens.tolist(), strict=True)
        return torch.cat(
            [
                self.model(ids[None, :length], cache_ids=places[None, :length], start_ids=slot)
                for ids, places, slot, length in rows
            ]
        )

    def sample(self, hidden_states, sampling_metadata):
        """Samples from what `forward` gave, as a dense layer has been before it."""
        return self.sampler(None, hidden_states, sampling_metadata)


def in_one_file(folder):
    """A folder whose weights LlamaForSampling can read: this one, or one beside it of a tensor per file."""
    if any((folder / name).exists() for name in ("model.safetensors", "pytorch_model.bin")):
        return folder
    split = folder.with_name(f"{folder.name}-split")
    if not split.exists():
        from transformers import LlamaForCausalLM as Whole
        from transformers_neuronx.module import save_pretrained_split

        save_pretrained_split(Whole.from_pretrained(folder, low_cpu_mem_usage=True), str(split))
    return split
