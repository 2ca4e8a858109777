"""The GPU that an environment is judged for: named, the target's, or the one that is here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.device import Device, cuda_release, device, is_release, jetpack_release
from vllm_nix.verification.driver import Driver
from vllm_nix.verification.manifest import lookup, texts


@dataclass(frozen=True, slots=True)
class Question:
    """`--for`, `--cuda` and `--jetpack`."""

    device: str | None = None
    cuda: str | None = None
    jetpack: str | None = None


def named_devices(question: Question, parameters: Mapping[str, Any]) -> tuple[Device, ...]:
    """The devices that were asked for, by name or by the target. Raises `InputError`."""
    if question.cuda:
        cuda_release(question.cuda)
    if question.jetpack:
        jetpack_release(question.jetpack)
    names = [question.device] if question.device else texts(parameters, "cuda", "capabilities")
    jetpack = jetpack_of(question, parameters)
    toolkit = None if jetpack else lookup(parameters, "cuda", "toolkit")
    cuda = question.cuda or (str(toolkit) if toolkit else None)
    return tuple(device(name, cuda, jetpack) for name in names)


def devices_here(question: Question, driver: Driver | str) -> tuple[Device, ...]:
    """The devices of this machine, the first of each capability. What is newer or older than our
    tables is judged by the rules that hold for all."""
    if isinstance(driver, str):
        return ()
    own = driver.version if is_release(driver.version) else None
    cuda = cuda_release(question.cuda) if question.cuda else own
    names: dict[str, str] = {}
    for gpu in driver.devices:
        names.setdefault(gpu.capability, gpu.name)
    return tuple(Device(name, ComputeCapability.parse(one), cuda) for one, name in names.items())


def jetpack_of(question: Question, parameters: Mapping[str, Any]) -> str | None:
    """The JetPack release, unless a CUDA release or another device was named."""
    if question.jetpack or question.device or question.cuda:
        return question.jetpack
    version = lookup(parameters, "jetpack", "version")
    return str(version) if version else None
