"""Names that setup.py imports; without extensions to build, only the folder is used."""

import os

CUDA_HOME = os.environ.get("CUDA_HOME")
ROCM_HOME = BuildExtension = CUDAExtension = None
