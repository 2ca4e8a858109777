"""torch was compiled with the switches that the target names, for the target's devices.

What PyTorch remembers of its build: the architectures (`torch._C._cuda_getArchFlags`, which, unlike
`torch.cuda.get_arch_list`, needs no GPU), and the switches in `torch.__config__`. QNNPACK shows as
a definition among the compiler's flags, the others by name. Switches that leave no trace are not
asked for: USE_DISTRIBUTED is `distributed`'s, NCCL's version `nccl`'s. A registry's wheel is
compiled for devices of its makers' choice: whether they cover the target's is for `gpu-code` to
say.

Seen in vllm#2021, vllm#15169, vllm#7575.
"""

import re
from collections.abc import Iterator, Mapping

from vllm_nix.gpu.capability import ComputeCapability, arch_list
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok

FLAGS = ("torch-flags",)
ON = frozenset(("1", "ON", "TRUE", "YES"))
# Without a word in the settings: defined for the compiler if on.
DEFINED = ("USE_QNNPACK", "USE_PYTORCH_QNNPACK", "USE_XNNPACK")


@check("torch-flags", "torch was compiled with the target's switches", steps=(FLAGS,))
def torch_flags(context: Context) -> Iterator[Finding]:
    switches = context.parameter("torch", "env") or {}
    capabilities = context.parameter("cuda", "capabilities") or []
    if context.parameter("torch", "from") == "wheel":
        capabilities = []
    if not switches and not capabilities:
        raise SkipError("torch is not compiled for a target")
    answer = context.ask(*FLAGS)
    if not answer["cuda"] and capabilities:
        raise SkipError("torch is built for the CPU: see `torch-build`")
    built = set(answer["archs"].split())
    for capability in capabilities:
        wanted = ComputeCapability.parse(capability).sm
        if wanted not in built:
            yield failed(
                f"compiled for {answer['archs'] or 'no architecture'}",
                expected=wanted,
                cure=f"build torch with TORCH_CUDA_ARCH_LIST={arch_list(capabilities)}",
            )
    yield from _switches(switches, answer["config"])
    yield ok(f"compiled for {answer['archs'] or 'the CPU'}; {len(switches)} switches")


def _switches(wanted: Mapping[str, str], config: str) -> Iterator[Finding]:
    for name, value in wanted.items():
        found = _setting(name, config)
        if found is not None and found != (str(value).upper() in ON):
            yield failed(
                f"{name} is {'on' if found else 'off'}",
                where="torch.__config__.show()",
                expected=f"{name}={value}",
                cure=f"build torch with {name}={value}",
            )


def _setting(name: str, config: str) -> bool | None:
    """Whether a switch was on; None if torch does not tell."""
    if match := re.search(rf"(?<![\w-]){name}=(\w+)", config):
        return match[1].upper() in ON
    if name in DEFINED and "CXX_FLAGS=" in config:
        return re.search(rf"-D{name}(?!\w)", config) is not None
    return None
