"""torch's builder of extensions: keeps what it is asked for, builds nothing."""

import os
from typing import Any

from setuptools import Extension
from setuptools.command.build_ext import build_ext

CUDA_HOME = os.environ["CUDA_HOME"]
ROCM_HOME = None
COMMON_NVCC_FLAGS = ["-D__CUDA_NO_HALF_OPERATORS__", "--expt-relaxed-constexpr"]
BuildExtension = build_ext
CppExtension = Extension


class CUDAExtension(Extension):
    def __init__(self, name: str, sources: list[str], **arguments: Any) -> None:
        self.nvcc: list[str] = arguments.pop("extra_compile_args")["nvcc"]
        super().__init__(name, [os.fspath(source) for source in sources], **arguments)
