"""vLLM generates the right tokens from a tiny model, on the device that it finds.

A random two-layer Qwen2 is written, loaded and run twice, greedily. Its right tokens were worked
out in double precision with the standard library alone, so an engine that computes something else
is found out, not only one that crashes. On a machine with a GPU, this is what proves all of it at
once.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import BUSY, Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.checks.neuron import lacks_neuron
from vllm_nix.verification.driver import Driver
from vllm_nix.verification.survey import StepError
from vllm_nix.verification.tiny_model import PROMPT, TEXT, TinyModel

COUNT = 8
MODEL = "tiny-qwen2"  # written beside the children's folders
BUILD = ("torch-build",)
GENERATE = ("generate", f"../{MODEL}", TEXT, str(COUNT))
WHERE = f"a random two-layer Qwen2 after {TEXT!r}"


@check("token", "vLLM generates the right tokens, and the same ones twice", steps=(BUILD, GENERATE))
def token(context: Context) -> Iterator[Finding]:
    try:
        answer = context.ask(*GENERATE)
    except StepError as problem:
        if reason := lacks_device(context):
            raise SkipError(reason) from None
        yield failed(str(problem), where=WHERE, cure=_cure(str(problem)))
        return
    first, second = answer["runs"]
    right = TinyModel.make().answer(PROMPT, COUNT)
    if answer["prompt"] != list(PROMPT):
        yield failed(
            f"prompt tokens {answer['prompt']}",
            where=WHERE,
            expected=str(list(PROMPT)),
            cure="install tokenizers and transformers again: they split a text differently",
        )
    elif first != second:
        yield failed(
            f"{first}, then {second}",
            where=WHERE,
            expected="the same at temperature 0",
            cure="a kernel is not deterministic: try another attention backend",
        )
    elif first != right:
        yield failed(
            str(first),
            where=WHERE,
            expected=str(right),
            cure="a kernel computes something else: it was built for other hardware, or is broken",
        )
    else:
        yield ok(f"tokens {first}, as worked out in double precision", WHERE)


def lacks_device(context: Context) -> str:
    """Why a vLLM that is not for the CPU cannot start here, or "" if it should."""
    if context.cann:
        return "CANN is not there: see `platform-plugin`"
    if reason := lacks_neuron(context):
        return reason
    if isinstance(context.driver, Driver) or context.is_for_cpu:
        return ""
    return context.driver if context.ask(*BUILD)["cuda"] else ""


# What the commonest messages mean; the first that occurs counts.
_CURES = (
    ("no answer within", BUSY),
    ("Failed to infer device type", "vLLM sees no platform: is this build for this machine?"),
    ("out of memory", "other programs hold the device's memory: see nvidia-smi, or take another"),
    ("Free memory on device", "other programs hold the device's memory: see nvidia-smi"),
    ("no kernel image", "a library lacks code for this device: see `gpu-code`"),
    ("unsupported toolchain", "PTX is too new for the driver: see `ptx`"),
    ("lscpu", "put lscpu (util-linux) on PATH"),
    ("libnuma.so.1", "install libnuma (numactl)"),
)


def _cure(output: str) -> str:
    return next(
        (cure for message, cure in _CURES if message in output),
        "the lines above are vLLM's own; run it by hand for the rest",
    )
