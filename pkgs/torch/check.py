"""Whether the torch that this interpreter imports is what was asked for: exits 1 with what is not.

It asks the library itself, without a device: what was compiled in, not what was switched on.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import distributed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", required=True)
    parser.add_argument("--distributed", type=_list, required=True, help="such as gloo,nccl")
    parser.add_argument("--archs", type=_list, default=[], help="such as sm_86,sm_87")
    parser.add_argument("--nccl", help="a release such as 2.27.7-1")
    parser.add_argument("--without-qnnpack", action="store_true")
    wanted = parser.parse_args(arguments)
    wrong = [
        *_version(wanted.version),
        *_distributed(wanted.distributed),
        *_architectures(wanted.archs),
        *(_nccl(wanted.nccl) if wanted.nccl else ()),
        *(_qnnpack() if wanted.without_qnnpack else ()),
        *_product(),
    ]
    for sentence in wrong:
        print(f"torch: {sentence}", file=sys.stderr)
    return int(bool(wrong))


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _version(wanted: str) -> Iterator[str]:
    if torch.__version__ != wanted:
        yield f"its version is {torch.__version__}, not {wanted}"


def _distributed(wanted: Sequence[str]) -> Iterator[str]:
    if not distributed.is_available():
        yield "it was built without distributed; set USE_DISTRIBUTED=1"
        return
    for name in wanted:
        if not getattr(distributed, f"is_{name}_available")():
            yield f"torch.distributed lacks {name}; set USE_{name.upper()}=1, and see why CMake left it out"


def _architectures(wanted: Sequence[str]) -> Iterator[str]:
    if not wanted:
        return
    if torch.version.cuda is None:
        yield "it was built without CUDA"
        return
    flags = torch._C._cuda_getArchFlags() or ""
    if (found := set(flags.split())) != set(wanted):
        yield f"its GPU code is for {_words(found)}, not {_words(wanted)}; see TORCH_CUDA_ARCH_LIST"


def _nccl(wanted: str) -> Iterator[str]:
    if not hasattr(torch._C, "_nccl_version"):
        yield "it was built without NCCL; set USE_NCCL=1"
        return
    found = ".".join(map(str, torch.cuda.nccl.version()))
    if found != wanted.partition("-")[0]:
        yield f"its NCCL is {found}, not {wanted}"


def _qnnpack() -> Iterator[str]:
    if "qnnpack" in torch.backends.quantized.supported_engines:
        yield "it was built with QNNPACK; set USE_PYTORCH_QNNPACK=0"


def _product() -> Iterator[str]:
    """BLAS at work: one with 64-bit integers takes torch's 32-bit ones for other sizes, in silence."""
    rows = torch.arange(96.0, dtype=torch.float64)
    left = torch.outer(rows % 7, rows % 5 + 1)
    right = torch.outer(rows % 3 + 1, rows % 11)
    # Whole numbers, so that no rounding excuses a difference; without BLAS on this side.
    expected = (left.unsqueeze(2) * right.unsqueeze(0)).sum(1)
    if not torch.equal(left @ right, expected):
        yield "the product of two matrices is wrong; see whether its BLAS takes 32-bit integers"


def _words(architectures: Iterable[str]) -> str:
    return ", ".join(sorted(architectures)) or "nothing"


if __name__ == "__main__":
    sys.exit(main())
