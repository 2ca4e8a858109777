"""What this machine's NVIDIA driver says of its devices."""

from dataclasses import dataclass

from vllm_nix.verification.environment import Environment

# What only a driver has, under the sonames that CUDA libraries ask for; on Jetson, L4T's as well.
LIBRARIES = frozenset(
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
    if not answer["devices"]:
        return "the NVIDIA driver sees no device"
    return Driver(answer["version"], tuple(Gpu(**device) for device in answer["devices"]))
