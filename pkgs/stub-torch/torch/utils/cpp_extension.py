"""Names that setup.py imports; without extensions none of them is used."""

CUDA_HOME = ROCM_HOME = BuildExtension = CUDAExtension = None
