"""Imports every architecture that vLLM registers, as on an A6000: architectures.py; prints what failed, as JSON.

No GPU is asked for anything on the way but what it is. The driver's library is the one that FlashInfer links with,
whose functions do nothing.
"""

import ctypes
import importlib
import json
import os

ctypes.CDLL(f"{os.environ['CUDA_HOME']}/lib/stubs/libcuda.so")

import torch
from vllm import platforms
from vllm.model_executor.models.registry import ModelRegistry
from vllm.platforms.cuda import NonNvmlCudaPlatform
from vllm.platforms.interface import DeviceCapability

torch.cuda.get_device_capability = lambda device=None: (8, 6)


class A6000(NonNvmlCudaPlatform):
    @classmethod
    def get_device_capability(cls, device_id: int = 0) -> DeviceCapability:
        return DeviceCapability(8, 6)

    @classmethod
    def get_device_name(cls, device_id: int = 0) -> str:
        return "NVIDIA RTX A6000"


platforms._current_platform = A6000()
failed = {}
for name, model in ModelRegistry.models.items():
    try:
        getattr(importlib.import_module(model.module_name), model.class_name)
    except Exception as error:  # noqa: BLE001 -- whatever a model's module raises
        failed[name] = f"{type(error).__name__}: {error}"
print(json.dumps({"count": len(ModelRegistry.models), "failed": failed}), flush=True)
os._exit(0)  # without waiting for what the modules started
