"""NCCL reduces over all devices of this machine.

A process for each device adds its number to a vector, and each must get the whole sum: with one
device a group of one, which still loads and sets up NCCL. In a process tree of its own, with a time
limit, for NCCL's failures hang more often than they raise. Skipped without a driver.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, check, failed, ok
from vllm_nix.verification.live import attempt, broken
from vllm_nix.verification.survey import StepError


@check("live-nccl", "NCCL reduces over the devices of this machine")
def live_nccl(context: Context) -> Iterator[Finding]:
    try:
        answer = attempt(context, "all-reduce")
    except StepError as problem:
        yield broken(problem, "all-reduce over NCCL", "run it with NCCL_DEBUG=INFO for more")
        return
    right = answer["expected"]
    if answer["values"] != [[right, right]] * answer["devices"]:
        yield failed(
            f"all-reduce gave {answer['values']}",
            expected=f"{right} on each of {answer['devices']}",
            cure="try NCCL_P2P_DISABLE=1: the path between the devices may be broken (IOMMU)",
        )
    yield ok(f"world size {answer['devices']}")
