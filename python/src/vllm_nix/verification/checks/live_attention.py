"""Attention on the device is as exact as half precision allows.

torch's own attention, and each of vLLM's, flash-attn's and xformers' that has code for the device,
is given random inputs in half precision, 128 positions, causal, in a process of its own, and
compared with the same computed in double precision from the same inputs. The largest absolute
difference may be 2**-8, about 0.004, for inputs no larger than 4 in size:

  2**-9   each probability is rounded to half precision once, by at most its 2**-11th part, and
          weighs a value of at most 4
  2**-10  the result, at most 4, is rounded to half precision once
  2**-11  at most, from scores that are summed up in single precision
  2**-8   is more than their sum, 2**-8 - 2**-11

A wrong mask, scale or layout is off by a hundred times that. Skipped without a driver.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, check, failed, ok
from vllm_nix.verification.checks.attention import libraries
from vllm_nix.verification.devices import Question, devices_here
from vllm_nix.verification.live import attempt, broken
from vllm_nix.verification.survey import StepError

BOUND = 2.0**-8
WHERE = "causal attention of 128 positions by {}, float16 beside float64"


@check("live-attention", "Attention kernels compute what double precision does")
def live_attention(context: Context) -> Iterator[Finding]:
    device = devices_here(Question(), context.here())[0]
    for name in ("torch", *libraries(context, device)):
        where = WHERE.format(name)
        try:
            error = attempt(context, "attention", name)["error"]
        except StepError as problem:
            yield broken(problem, where, f"build {name} for this device and this torch")
            continue
        if not error <= BOUND:  # not a number, either
            yield failed(
                f"off by {error:.3g}",
                where=where,
                expected=f"at most {BOUND:.3g}",
                cure=f"build {name} for this device; until then choose another attention backend",
            )
        else:
            yield ok(f"{name} within {error:.2g}")
