"""Converts a GGUF file to what vLLM reads: safetensors in bfloat16, tokenizer and chat template.

    convert.py FILE OUT

vLLM reads no GGUF of itself since 0.24. transformers does it, with the library gguf; the result is the
same to the bit each time.
"""

import functools
import sys
from pathlib import Path

import gguf
import torch

# transformers opens the file four times and makes the table of names anew for each layer: 37 s for 20.
gguf.GGUFReader = functools.cache(gguf.GGUFReader)
gguf.get_tensor_name_map = functools.cache(gguf.get_tensor_name_map)

from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def main() -> None:
    file, out = Path(sys.argv[1]), Path(sys.argv[2])
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),  # saving fails otherwise
    )
    model.save_pretrained(out)
    for path in out.iterdir():
        path.chmod(0o644)  # safetensors makes its file the owner's alone


if __name__ == "__main__":
    main()
