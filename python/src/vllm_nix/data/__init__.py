"""The target files, the embedded base's locks, vLLM's sources: links, copied in when packaged."""

from pathlib import Path

TARGETS = Path(__file__).parent / "targets"
DEBIAN = Path(__file__).parent / "debian"
VLLM = Path(__file__).parent / "vllm"
