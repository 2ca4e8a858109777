"""The checks: one file each, in the order in which a report lists them."""

from vllm_nix.verification.check import Check
from vllm_nix.verification.checks.attention import attention
from vllm_nix.verification.checks.distributed import distributed
from vllm_nix.verification.checks.elf import elf_files
from vllm_nix.verification.checks.gpu_code import gpu_code
from vllm_nix.verification.checks.host_libraries import host_libraries
from vllm_nix.verification.checks.imports import imports
from vllm_nix.verification.checks.interpreter import interpreter
from vllm_nix.verification.checks.live_attention import live_attention
from vllm_nix.verification.checks.live_device import live_device
from vllm_nix.verification.checks.live_nccl import live_nccl
from vllm_nix.verification.checks.live_triton import live_triton
from vllm_nix.verification.checks.machine import machine
from vllm_nix.verification.checks.manifest import manifest
from vllm_nix.verification.checks.memory import memory
from vllm_nix.verification.checks.nccl import nccl
from vllm_nix.verification.checks.neuron import neuron
from vllm_nix.verification.checks.nvml import nvml
from vllm_nix.verification.checks.ownership import ownership
from vllm_nix.verification.checks.placeholders import placeholders
from vllm_nix.verification.checks.platform_plugin import platform_plugin
from vllm_nix.verification.checks.ptx import ptx
from vllm_nix.verification.checks.record import record
from vllm_nix.verification.checks.requirements import requirements
from vllm_nix.verification.checks.sbsa import sbsa
from vllm_nix.verification.checks.token import token
from vllm_nix.verification.checks.torch_abi import torch_abi
from vllm_nix.verification.checks.torch_build import torch_build
from vllm_nix.verification.checks.torch_flags import torch_flags
from vllm_nix.verification.checks.triton import triton
from vllm_nix.verification.checks.vllm_version import vllm_version
from vllm_nix.verification.checks.wheel_set import wheel_set

CHECKS: tuple[Check, ...] = (
    interpreter,
    machine,
    manifest,
    wheel_set,
    placeholders,
    requirements,
    record,
    ownership,
    elf_files,
    torch_abi,
    gpu_code,
    ptx,
    attention,
    sbsa,
    nvml,
    memory,
    triton,
    platform_plugin,
    neuron,
    imports,
    torch_build,
    torch_flags,
    nccl,
    distributed,
    vllm_version,
    live_device,
    live_nccl,
    live_triton,
    live_attention,
    token,
    host_libraries,  # after `token`: the same process has loaded all of vLLM by then
)
