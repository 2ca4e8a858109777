"""Triton compiles a kernel here, and it computes.

Compiling takes a C compiler, the driver's library and an assembler that knows the device, which is
more than importing Triton shows. Two vectors are added and compared exactly. Skipped without a
driver or Triton.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.live import attempt, broken
from vllm_nix.verification.survey import StepError

CURE = (
    "Triton needs a C compiler (CC), libcuda.so.1 (TRITON_LIBCUDA_PATH) and a ptxas: see `triton`"
)


@check("live-triton", "Triton compiles a kernel on this machine, and it computes")
def live_triton(context: Context) -> Iterator[Finding]:
    context.here()
    if context.installed("triton") is None:
        raise SkipError("Triton is not installed")
    try:
        error = attempt(context, "triton")["error"]
    except StepError as problem:
        yield broken(problem, "a kernel that adds two vectors", CURE)
        return
    if error:
        yield failed(
            f"off by {error}",
            where="a kernel that adds two vectors",
            expected="the exact sum",
            cure="Triton's assembler and driver do not fit: see `triton`",
        )
    yield ok("two vectors added")
