"""The checks, by what they look at, in the order in which a report lists them."""

import inspect

from vllm_nix.errors import InputError
from vllm_nix.verification.check import Check
from vllm_nix.verification.checks.compiling import compilers, triton
from vllm_nix.verification.checks.distributed import distributed, nccl
from vllm_nix.verification.checks.distributions import manifest, placeholders, wheel_set
from vllm_nix.verification.checks.elf_files import elf_files
from vllm_nix.verification.checks.gpu_code import attention, gpu_code, ptx, sbsa
from vllm_nix.verification.checks.host import memory, neuron, nvml, platform_plugin
from vllm_nix.verification.checks.kernels import kernels
from vllm_nix.verification.checks.live import live_attention, live_device, live_nccl, live_triton
from vllm_nix.verification.checks.mapped import host_libraries
from vllm_nix.verification.checks.processors import machine
from vllm_nix.verification.checks.python import imports, interpreter
from vllm_nix.verification.checks.recorded import ownership, record
from vllm_nix.verification.checks.requirements import requirements
from vllm_nix.verification.checks.symbols import torch_abi
from vllm_nix.verification.checks.torch import torch_build, torch_flags
from vllm_nix.verification.checks.vllm import token, vllm_version

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
    kernels,
    sbsa,
    nvml,
    memory,
    triton,
    compilers,
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


def find_check(id: str) -> Check:
    """The check of that id. Raises `InputError`."""
    for check in CHECKS:
        if check.id == id:
            return check
    raise InputError(f"unknown check '{id}'; there are: {', '.join(c.id for c in CHECKS)}")


def explain(id: str) -> str:
    """The id and title of a check, and what it proves, how, and where the pain behind it was seen:
    its function's own words. Raises `InputError`."""
    check = find_check(id)
    return f"{check.id}: {check.title}\n\n{inspect.getdoc(check.run) or ''}"
