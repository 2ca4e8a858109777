"""The GPUs to judge for: those that were asked for, the target's, or this machine's by its driver."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.device import Device, cuda_release, device, is_release, jetpack_release
from vllm_nix.verification.environment import Environment, lookup, texts

# What only a driver has, under the sonames that CUDA libraries ask for; on Jetson, L4T's as well.
DRIVER_LIBRARIES = frozenset(
    ("libcuda.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-ml.so.1")
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device; `capability` as in "8.7", `memory` in bytes. The memory of an `integrated` one is
    the host's."""

    name: str
    capability: str
    integrated: bool
    memory: int


@dataclass(frozen=True, slots=True)
class Driver:
    """`version` is the newest CUDA that the driver runs, as in "12.6"."""

    version: str
    devices: tuple[Gpu, ...]


def ask_driver(environment: Environment) -> Driver | str:
    """Asks in a child process, for a broken driver may crash or hang; else why there is none."""
    outcome = environment.probe("driver")
    if outcome.end or len(outcome.answers) != 1:
        return f"the NVIDIA driver's library breaks its process: {outcome.end or 'no answer'}"
    answer = outcome.answers[0]
    if "problem" in answer:
        return str(answer["problem"])
    try:
        driver = Driver(_release(answer["version"]), tuple(map(_gpu, answer["devices"])))
    except (KeyError, TypeError, ValueError):
        return f"the NVIDIA driver cannot be asked: its process answers {str(answer)[:200]}"
    return driver if driver.devices else "the NVIDIA driver sees no device"


def _gpu(answer: Any) -> Gpu:
    return Gpu(
        name=str(answer["name"]),
        capability=_release(answer["capability"]),
        integrated=bool(answer["integrated"]),
        memory=int(answer["memory"]),
    )


def _release(text: object) -> str:
    """Two numbers with a point between, as in "8.7". Raises ValueError."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", text):
        raise ValueError(f"{text!r} is not of the form 8.7")
    return text


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
