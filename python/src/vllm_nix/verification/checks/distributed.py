"""torch.distributed is in, with the target's backends, and its collectives compute.

vLLM sets up a process group even for one worker. A torch that was built without distributed, or
without gloo, imports all the same. The backends that torch was built with are asked for, and gloo
reduces a vector in a group of one. NCCL is `nccl`'s.

Seen in nccl#1561, vllm#6063, vllm#7293.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, check, failed, ok
from vllm_nix.verification.survey import StepError

BACKENDS = ("backends",)
ALL_REDUCE = ("all-reduce", "gloo")
REBUILD = "build torch with USE_DISTRIBUTED=1, and USE_NCCL=1 for NVIDIA devices"


@check(
    "distributed",
    "torch.distributed has its backends, and gloo reduces",
    steps=(BACKENDS, ALL_REDUCE),
)
def distributed(context: Context) -> Iterator[Finding]:
    answer = context.ask(*BACKENDS)
    if not answer["available"]:
        yield failed("torch was built without distributed", cure=REBUILD)
        return
    backends = answer["backends"]
    for wanted in context.parameter("torch", "distributed") or ["gloo"]:
        if wanted not in backends and wanted != "nccl":
            yield failed(
                f"backends: {', '.join(backends) or 'none'}", expected=wanted, cure=REBUILD
            )
    if "gloo" in backends:
        yield from _all_reduce(context)
    yield ok(f"backends: {', '.join(backends)}")


def _all_reduce(context: Context) -> Iterator[Finding]:
    try:
        values = context.ask(*ALL_REDUCE)["values"]
    except StepError as problem:
        yield failed(
            str(problem),
            where="all-reduce over gloo, world size 1",
            cure="gloo needs a network interface: is `lo` up? Name one in GLOO_SOCKET_IFNAME",
        )
        return
    if values != [0.0, 1.0, 2.0, 3.0]:
        yield failed(
            f"all-reduce gave {values}", expected="[0.0, 1.0, 2.0, 3.0]", cure="install torch again"
        )
