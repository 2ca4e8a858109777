"""The packages that are known by name: what every start of vLLM loads, and what has its kernels."""

import re

# Folders of what every start of vLLM loads.
EVERY_START = tuple("numpy nvidia safetensors tokenizers torch torch_npu triton vllm".split())
# Whose kernels vLLM takes, and of which torch's symbols are judged.
ATTENTION = ("flash_attn", "xformers")
# Distributions whose kernels vLLM, or what it requires, calls as soon as they are there.
TAKEN = ("flash-attn", "flashinfer")
_KNOWN = re.compile(r"torch|vllm|vllm_flash_attn|flash_attn\w*|xformers")


def is_torchs(package: str) -> bool:
    """Whether it is torch, vLLM, or what they take kernels from: not a plugin such as torch_npu."""
    return _KNOWN.fullmatch(package.partition(".")[0]) is not None
