"""torch: which build it is, and how it was compiled."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from vllm_nix.gpu.capability import ComputeCapability, arch_list
from vllm_nix.gpu.device import release
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.checks.gpu_code import drivers, too_old


@check("torch-build", "torch is the build that the target asks for", steps=(("torch-build",),))
def torch_build(context: Context) -> Iterator[Finding]:
    """torch is the build that the target asks for, not another that took its place.

    pip replaces torch when another package asks for a version, by the first build that its index
    has: for the CPU, for another CUDA, for another system. The version with its label, and the
    CUDA release that it was built with, are compared with the target and with torch's own
    metadata; and where a GPU was asked for, or vLLM's libraries need CUDA, torch must have been built
    for one. A registry's wheel may be built with an older CUDA of the target's major release, which
    the target's driver runs (CUDA's minor version compatibility). The other way round, the driver
    must be one for torch's major release of CUDA, or newer: the device's that was asked for, and this
    machine's ("The NVIDIA driver on your system is too old").

    Seen in FunASR#2973, verl-omni#133, vllm#15169, vllm#7575, jetson-containers#1514, vllm#2021.
    """
    build = context.ask("torch-build")
    version, cuda = build["version"], build["cuda"]
    built = _device(cuda, *map(str, build["others"]))
    for wanted, source in _versions(context):
        if not _same(version, wanted):
            yield failed(
                f"torch {version}",
                expected=f"torch {wanted} ({source})",
                fix=f"install torch {wanted} again: another build took its place",
            )
    toolkit = context.parameter("cuda", "toolkit")
    is_wheel = context.parameter("torch", "from") == "wheel"
    if context.parameters and cuda != toolkit and not (is_wheel and _older(cuda, toolkit)):
        yield failed(
            f"built for {built}",
            expected=f"built for {_device(toolkit)}",
            fix="install the target's own torch wheel; pip prefers its index's, so name a version",
        )
    if context.is_asked and not toolkit and cuda is None:
        yield failed(
            f"built for {built}",
            expected=f"built for CUDA, for {context.devices[0]}",
            fix=FOR_CUDA,
        )
    elif cuda is None and not context.parameters and (found := _wants_cuda(context)):
        yield failed(
            f"built for {built}, and vLLM for CUDA: it needs {found[1]}",
            where=context.place(found[0]),
            expected="both for one device",
            fix=f"{FOR_CUDA}; or vLLM's build for {built}",
        )
    if isinstance(cuda, str) and (number := re.match(r"[0-9]{1,3}(?=\.|$)", cuda)):
        for driver in drivers(context):
            if int(number[0]) > release(driver.cuda)[0]:
                yield too_old(f"built for CUDA {cuda}", driver, int(number[0]))
    abi = 1 if build["cxx11-abi"] else 0
    yield ok(f"torch {version}, {built}, C++11 ABI {abi}")


FOR_CUDA = (
    "pip uninstall torch, then install one for CUDA: the registry's is (for aarch64 from 2.11 on), "
    "or that of PyTorch's index whose label is the CUDA of vLLM"
)
_OF_CUDA = re.compile(r"lib(?:torch_cuda|c10_cuda|cudart|cublas)\b")


def _wants_cuda(context: Context) -> tuple[Path, str] | None:
    """A library of vLLM's that needs one of CUDA's, and which."""
    for file, image in context.facts.binaries().images.items():
        if context.packages.top(file) == "vllm":
            for name in image.needed:
                if _OF_CUDA.match(name):
                    return file, name
    return None


def _versions(context: Context) -> Iterator[tuple[str, str]]:
    if wanted := context.parameter("torch", "version"):
        number = context.parameter("torch", "build-number") or 1
        yield f"{wanted}.post{number}" if number > 1 else wanted, "the target's"
    for distribution in context.distributions:
        if distribution.name == "torch":
            yield distribution.version, "its metadata"


def _same(version: str, wanted: str) -> bool:
    """Equal, or with a label that `wanted` leaves open: the registry's wheels add it inside."""
    return version == wanted or ("+" not in wanted and version.partition("+")[0] == wanted)


def _older(cuda: str | None, toolkit: str | None) -> bool:
    """Whether both are of one major release, and the first is the older one."""
    if cuda is None or toolkit is None:
        return False
    return release(cuda)[0] == release(toolkit)[0] and release(cuda) < release(toolkit)


def _device(cuda: str | None, *others: str) -> str:
    return f"CUDA {cuda}" if cuda else " and ".join(others) or "the CPU"


FLAGS = ("torch-flags",)
ON = frozenset(("1", "ON", "TRUE", "YES"))
# Without a word in the settings: defined for the compiler if on.
DEFINED = ("USE_QNNPACK", "USE_PYTORCH_QNNPACK", "USE_XNNPACK")


@check("torch-flags", "torch was compiled with the target's switches", steps=(FLAGS,))
def torch_flags(context: Context) -> Iterator[Finding]:
    """torch was compiled with the switches that the target names, for the target's devices.

    What PyTorch remembers of its build: the architectures (`torch._C._cuda_getArchFlags`, which, unlike
    `torch.cuda.get_arch_list`, needs no GPU), and the switches in `torch.__config__`. QNNPACK shows as
    a definition among the compiler's flags, the others by name. Switches that leave no trace are not
    asked for: USE_DISTRIBUTED is `distributed`'s, NCCL's version `nccl`'s. A registry's wheel is
    compiled for devices of its makers' choice: whether they cover the target's is for `gpu-code` to
    say.

    Seen in vllm#2021, vllm#15169, vllm#7575.
    """
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
                fix=f"build torch with TORCH_CUDA_ARCH_LIST={arch_list(capabilities)}",
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
                fix=f"build torch with {name}={value}",
            )


def _setting(name: str, config: str) -> bool | None:
    """Whether a switch was on; None if torch does not say."""
    if match := re.search(rf"(?<![\w-]){name}=(\w+)", config):
        return match[1].upper() in ON
    if name in DEFINED and "CXX_FLAGS=" in config:
        return re.search(rf"-D{name}(?!\w)", config) is not None
    return None
