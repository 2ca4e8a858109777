"""Tries things on this machine's GPU, each in a process of its own."""

from collections.abc import Mapping
from typing import Any

from vllm_nix.verification.check import Context, Finding, failed
from vllm_nix.verification.survey import StepError

# What the commonest messages mean; the first that occurs counts.
_CURES = (
    ("out of memory", "other programs hold the device's memory: see nvidia-smi, or take another"),
    ("no kernel image", "a library lacks code for this device: see `gpu-code`"),
    ("unsupported toolchain", "PTX is too new for the driver: see `ptx`"),
    ("driver version is insufficient", "update the driver, or take a torch for an older CUDA"),
    ("no answer within", "it hangs: look at dmesg for Xid errors, and at nvidia-smi"),
    ("killed by SIGKILL", "the system killed it: is there memory enough? See dmesg"),
)


def attempt(context: Context, *step: str) -> Mapping[str, Any]:
    """What a step, its name and arguments, of `probes/gpu.py` answers. Raises `SkipError` without a device, `StepError`
    if it raised, crashed or hung; running out of memory is one of these."""
    context.here()
    context.python()
    context.survey.finish()  # vLLM measures what is free, and fails when others let go meanwhile
    outcome = context.environment.probe("gpu", *step)
    if len(outcome.answers) != 1:
        words = outcome.last_words()
        raise StepError(f"{outcome.end or 'no answer'}: {words}" if words else outcome.end)
    answer = outcome.answers[0]
    if "error" in answer:
        raise StepError(answer["error"])
    value: Mapping[str, Any] = answer["value"]
    return value


def broken(problem: StepError, what: str, otherwise: str) -> Finding:
    """The finding for a step that did not end well."""
    text = str(problem)
    cure = next((cure for message, cure in _CURES if message in text), otherwise)
    return failed(text, where=what, cure=cure)
