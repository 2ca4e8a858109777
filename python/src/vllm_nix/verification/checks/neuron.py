"""AWS Neuron's devices are there, for a vLLM that is made for them.

The driver is the host's: aws-neuronx-dkms makes /dev/neuron0 and so on, one of each chip. Whoever
may not open them all gets an error of the runtime's.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok

DEVICES = Path("/dev")


@check("neuron", "AWS Neuron's devices are there, for a vLLM that is made for them")
def neuron(context: Context) -> Iterator[Finding]:
    if not _applies(context):
        raise SkipError("not for AWS Neuron")
    if reason := lacks_neuron(context):
        raise SkipError(reason)
    devices = _devices()
    closed = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    for device in closed:
        yield failed(
            f"{device} is not this user's to open",
            expected="reading and writing",
            cure="add the user to the device's group, or loosen its udev rule",
        )
    if not closed:
        yield ok(f"{len(devices)} devices")


def lacks_neuron(context: Context) -> str:
    """Why a vLLM that is made for Neuron cannot start here; "" if it could, or is for another."""
    if not _applies(context) or _devices():
        return ""
    return (
        f"no {DEVICES}/neuron0 here: it is no Trn1 or Inf2 instance, or lacks AWS's driver,"
        " aws-neuronx-dkms"
    )


def _applies(context: Context) -> bool:
    vllm = context.installed("vllm")
    return "neuron" in context.parameters or (vllm is not None and "+neuron" in vllm.version)


def _devices() -> list[Path]:
    return sorted(DEVICES.glob("neuron[0-9]*"))
