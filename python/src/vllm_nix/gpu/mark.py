"""The mark in a slim library, of the devices whose code it kept (docs/slim.md)."""

import mmap
from _collections_abc import Iterable

from vllm_nix.binaries import notes
from vllm_nix.binaries.elf import Segment
from vllm_nix.errors import InputError
from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.light import NamedTuple

TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    from vllm_nix.gpu.device import Device


class Mark(NamedTuple):
    """What a library was slimmed for: capabilities, and the CUDA release if one was named."""

    capabilities: tuple[ComputeCapability, ...]
    cuda: str | None = None

    @classmethod
    def of(cls, devices: "Iterable[Device]") -> "Mark":
        devices = list(devices)
        capabilities = tuple(sorted({one.capability for one in devices}))
        return cls(capabilities, next((one.cuda for one in devices if one.cuda), None))

    def to_bytes(self) -> bytes:
        import json  # archs does without

        capabilities = list(map(str, self.capabilities))
        return json.dumps({"slimmed-for": capabilities, "cuda": self.cuda}).encode()

    @classmethod
    def parse(cls, text: bytes) -> "Mark":
        """Raises ValueError."""
        import json

        try:
            value = json.loads(text)
            cuda = None if value["cuda"] is None else str(value["cuda"])
            capabilities = tuple(map(ComputeCapability.parse, value["slimmed-for"]))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError, InputError):
            raise ValueError("a damaged mark of what it was slimmed for") from None
        return cls(capabilities, cuda)

    @classmethod
    def find(cls, data: bytes | mmap.mmap, segments: Iterable[Segment]) -> "Mark | None":
        """That of a file, None if it is whole. Raises ValueError."""
        text = notes.find(data, segments)
        return None if text is None else cls.parse(text)

    def __str__(self) -> str:
        capabilities = ", ".join(map(str, self.capabilities))
        return capabilities + (f" with CUDA {self.cuda}" if self.cuda else "")
