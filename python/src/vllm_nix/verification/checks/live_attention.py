"""Attention on the device is as exact as half precision allows.

torch's own attention, and flash-attn's if it is installed, are given random inputs in half
precision and compared with the same computed in double precision from the same inputs, 128
positions, causal. The bound is 2**-8, about 0.004, for the largest absolute difference: results are
averages of values of a few units, half precision rounds those below 4 by at most 2**-10, and
probabilities are rounded once more. A wrong mask, scale or layout is off by a hundred times that.
Skipped without a driver.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, check, failed, ok
from vllm_nix.verification.live import attempt, broken
from vllm_nix.verification.survey import StepError

BOUND = 2.0**-8
WHERE = "causal attention of 128 positions, float16 beside float64"


@check("live-attention", "Attention kernels compute what double precision does")
def live_attention(context: Context) -> Iterator[Finding]:
    try:
        errors = attempt(context, "attention")["errors"]
    except StepError as problem:
        yield broken(problem, WHERE, "see `gpu-code` and `attention` for what lacks code")
        return
    for name, error in errors.items():
        if not error <= BOUND:  # not a number, either
            yield failed(
                f"{name} is off by {error:.3g}",
                where=WHERE,
                expected=f"at most {BOUND:.3g}",
                cure=f"build {name} for this device; until then choose another attention backend",
            )
    yield ok(", ".join(f"{name} within {error:.2g}" for name, error in errors.items()))
