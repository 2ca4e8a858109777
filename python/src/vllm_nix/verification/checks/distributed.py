"""Several processes: torch.distributed, its backends, NCCL."""

import os
from collections.abc import Iterator
from pathlib import Path

from vllm_nix.gpu import libraries
from vllm_nix.gpu.compat import Verdict, judge_library
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.checks.gpu_code import unread
from vllm_nix.verification.fixes import fix_for
from vllm_nix.verification.opened import requires
from vllm_nix.verification.survey import StepError

BUILD = ("torch-build",)
NCCL = ("nccl",)


@check("nccl", "torch has NCCL, of the target's version", steps=(BUILD, NCCL))
def nccl(context: Context) -> Iterator[Finding]:
    """torch has NCCL, in the target's version, with code for the device.

    Without NCCL, vLLM fails as soon as it sets up its workers, even on one GPU. torch says whether it
    was built with it and which version it loads, which must be the target's, or that of the wheel that
    torch requires; no GPU is needed for that. A system's NCCL lies outside the environment: its GPU
    code is judged here, that of all others in `gpu-code`. What VLLM_NCCL_SO_PATH names must be there.

    Seen in nccl#1561, vllm#6063, vllm#7293, jetson-containers#1370, vllm#4195, vllm#4294.
    `import torch.distributed.nccl`, often used to test for it, fails with every torch: there is no
    such module.
    """
    asked = context.parameter("torch", "distributed")
    if asked is not None and "nccl" not in asked:
        raise SkipError("the target has no NCCL")
    if not context.ask(*BUILD)["cuda"]:
        raise SkipError("torch is built for the CPU: see `torch-build`")
    answer = context.ask(*NCCL)
    if not answer["available"]:
        yield failed(
            "torch was built without NCCL",
            expected="torch.distributed.is_nccl_available()",
            fix="build torch with USE_DISTRIBUTED=1 USE_NCCL=1, or take a build that was",
        )
        return
    version = ".".join(map(str, answer["version"]))
    wanted = str(context.parameter("nccl", "version") or _required(context) or version)
    wanted = wanted.partition("-")[0]
    if version != wanted:
        yield failed(
            f"NCCL {version}",
            where=answer["file"],
            expected=f"NCCL {wanted}",
            fix="another libnccl.so.2 is found first: take its folder out of LD_LIBRARY_PATH and LD_PRELOAD, "
            "and leave one of the nvidia-nccl wheels",
        )
    named = os.environ.get("VLLM_NCCL_SO_PATH")
    if named and "/" in named and not Path(named).is_file():  # else the loader looks for it
        is_there = Path(named).exists()
        yield failed(
            f"VLLM_NCCL_SO_PATH names {'what is no file' if is_there else 'a file that is not there'}",
            where=named,
            fix="unset VLLM_NCCL_SO_PATH: vLLM then takes the NCCL of torch",
        )
    yield from _outside(context, answer["file"])
    yield ok(f"NCCL {version}", answer["file"])


def _required(context: Context) -> str:
    """The version of the wheel of NCCL that torch requires, if it is installed; "" if it is not."""
    torch = context.installed("torch")
    asked = torch.requires if torch else ()
    for found in context.distributions:
        is_nccl = found.name.startswith("nvidia-nccl-cu")
        if is_nccl and any(requires(text, found.name) for text in asked):
            return ".".join(found.version.split(".")[:3])
    return ""


def _outside(context: Context, file: str) -> Iterator[Finding]:
    """What `gpu-code` does not see: a library that is not in the environment."""
    if not file or context.packages.holds(Path(file)):
        return
    library = libraries.read_library(file)
    if problem := unread(library):
        yield failed(
            f"its GPU code cannot be read: {problem}", where=file, fix="install that NCCL again"
        )
    for device in context.devices:
        judgement = judge_library(library, device)
        if judgement.verdict in (Verdict.MISSING, Verdict.NOT_APPLICABLE):
            yield failed(
                judgement.why,
                where=file,
                expected=f"code for {device}",
                fix="build NCCL with NVCC_GENCODE for this device",
            )


BACKENDS = ("backends",)
ALL_REDUCE = ("all-reduce", "gloo")
INTERFACE = "GLOO_SOCKET_IFNAME"
REBUILD = "build torch with USE_DISTRIBUTED=1, and USE_NCCL=1 for NVIDIA devices"


@check(
    "distributed",
    "torch.distributed has its backends, and gloo reduces",
    steps=(BACKENDS, ALL_REDUCE),
)
def distributed(context: Context) -> Iterator[Finding]:
    """torch.distributed is in, with the target's backends, and its collectives compute.

    vLLM sets up a process group even for one worker. A torch that was built without distributed, or
    without gloo, imports all the same. The backends that torch was built with are asked for, and gloo
    reduces a vector in a group of one. NCCL is `nccl`'s.

    Seen in nccl#1561, vllm#6063, vllm#7293.
    """
    answer = context.ask(*BACKENDS)
    if not answer["available"]:
        yield failed("torch was built without distributed", fix=REBUILD)
        return
    backends = answer["backends"]
    for wanted in context.parameter("torch", "distributed") or ["gloo"]:
        if wanted not in backends and wanted != "nccl":
            yield failed(f"backends: {', '.join(backends) or 'none'}", expected=wanted, fix=REBUILD)
    if "gloo" in backends:
        yield from _all_reduce(context)
    yield ok(f"backends: {', '.join(backends)}")


def _all_reduce(context: Context) -> Iterator[Finding]:
    try:
        values = context.ask(*ALL_REDUCE)["values"]
    except StepError as problem:
        otherwise = "gloo needs a network interface: is `lo` up? Name one in GLOO_SOCKET_IFNAME"
        fix = fix_for(str(problem), otherwise)
        if (named := os.environ.get(INTERFACE)) and named.strip("^").partition(",")[0] in str(
            problem
        ):
            fix = f"unset {INTERFACE}, which names {named}; {fix}"
        yield failed(str(problem), where="all-reduce over gloo, world size 1", fix=fix)
        return
    if values != [0.0, 1.0, 2.0, 3.0]:
        yield failed(
            f"all-reduce gave {values}", expected="[0.0, 1.0, 2.0, 3.0]", fix="install torch again"
        )
