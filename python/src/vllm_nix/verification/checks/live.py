"""Tried on this machine's GPU, each in a process of its own."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.checks.gpu_code import libraries
from vllm_nix.verification.fixes import fix_for
from vllm_nix.verification.machine import (
    BrokenDriver,
    Driver,
    Gpu,
    Question,
    devices_here,
    error,
    fix,
)
from vllm_nix.verification.survey import StepError, answered

SUM = 499500  # of 0 to 999
SILENT = "no answer within"
# Of what runs on the device, these mean something else than they do elsewhere.
_FIXES = {
    SILENT: "it hangs: look at dmesg for Xid errors, and at nvidia-smi",
    "killed by SIGKILL": "the system killed it: is there memory enough? See dmesg",
}


def attempt(context: Context, *step: str) -> Mapping[str, Any]:
    """What a step, its name and arguments, of `probes/gpu.py` answers. Raises `SkipError` without a
    device, `StepError` if it raised, crashed or hung; running out of memory is one of these."""
    context.here()
    context.python()
    context.survey.finish()  # vLLM measures what is free, and fails when others let go meanwhile
    outcome = context.environment.probe("gpu", *step)
    if len(outcome.answers) != 1:
        words = outcome.last_words()
        raise StepError(f"{outcome.end or 'no answer'}: {words}" if words else outcome.end)
    return answered(outcome.answers[0])


def broken(problem: StepError, what: str, otherwise: str) -> Finding:
    """The finding for a step that did not end well."""
    text = str(problem)
    known = (advice for message, advice in _FIXES.items() if message in text)
    return failed(text, where=what, fix=next(known, fix_for(text, otherwise)))


@check("live-device", "torch computes on each device of this machine", imports=True)
def live_device(context: Context) -> Iterator[Finding]:
    """torch computes on each device that the driver has.

    The driver's own library says which devices there are, without torch; then torch is asked, in a
    process of its own, and adds numbers up on each. A driver that is older than the CUDA of torch, a
    container without the device, or a torch without code for it show here. Skipped without a driver;
    one that is there and does not start is a fault, explained by the number that cuInit gives. vLLM
    finds NVIDIA's devices by NVML, but for a Jetson's, so NVML must start as well.

    Seen in gpustack#4678, llm-d#706, vllm#33447, vllm#21979.
    """
    if isinstance(context.driver, BrokenDriver) and context.is_for_cuda:
        broken_ = context.driver
        # Who asks for another device has a use for none of this machine's.
        is_fault = broken_.is_fault and (broken_.is_there or context.is_here)
        yield (failed if is_fault else warning)(broken_.found, fix=broken_.fix)
        return
    driver = context.here()
    if driver.mixed:
        yield failed(
            driver.mixed,
            expected="one release: PTX and NVML fail with another's",
            fix="take the folder of the one that is not the kernel module's out of LD_LIBRARY_PATH, or out of "
            "/etc/ld.so.conf.d (then ldconfig), or uninstall that release",
        )
    yield from _nvml(driver)
    try:
        answer = attempt(context, "device")
    except StepError as problem:
        otherwise = f"compare the driver's CUDA ({driver.version}) with torch's"
        yield broken(problem, "a sum on the device", otherwise)
        return
    seen = [device["capability"] for device in answer["devices"]]
    there = [gpu.capability for gpu in driver.devices]
    if sorted(seen) != sorted(there):
        yield failed(
            f"torch sees {', '.join(seen) or 'no device'}",
            expected=f"the driver's: {', '.join(there)}",
            fix="look at CUDA_VISIBLE_DEVICES",
        )
    for device in answer["devices"]:
        if device["sum"] != SUM:
            yield failed(
                f"the sum is {device['sum']}",
                where=device["name"],
                expected=str(SUM),
                fix="the device or its driver is broken: see dmesg",
            )
    wanted = context.parameter("cuda", "capabilities")
    # A registry's wheels are for more devices than one target names, and `gpu-code` says for which.
    is_compiled = context.parameter("torch", "from") != "wheel"
    if is_compiled and wanted and not set(wanted) & set(there):
        yield warning(
            f"this machine has {', '.join(there)}",
            expected=f"one of the target's: {', '.join(wanted)}",
            fix="take the target of this device: vllm-nix targets",
        )
    names = ", ".join(f"{gpu.name} ({gpu.capability})" for gpu in driver.devices)
    yield ok(f"{names}; driver for CUDA {driver.version}, torch for {answer['cuda']}")


def _nvml(driver: Driver) -> Iterator[Finding]:
    if driver.nvml == 0 or all(_is_jetson(gpu) for gpu in driver.devices):
        return
    if driver.nvml is None:
        yield warning(
            "there is no libnvidia-ml.so.1, by which vLLM finds its platform",
            fix="in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility; else install the whole driver",
        )
        return
    yield failed(
        f"NVML does not start: nvmlInit gives {error('nvmlInit', driver.nvml)}",
        expected="a start, for vLLM finds its platform by it",
        fix=fix("nvmlInit", driver.nvml),
    )


def _is_jetson(gpu: Gpu) -> bool:
    return ComputeCapability.parse(gpu.capability).jetson


HANGS = (
    "set NCCL_P2P_DISABLE=1 (in vLLM with --disable-custom-all-reduce): the devices do not reach each "
    "other; to fix that, switch the IOMMU off (amd_iommu=off, intel_iommu=off) or ACS in the BIOS; if it "
    "hangs all the same: NCCL_SHM_DISABLE=1 or a larger /dev/shm, NCCL_CUMEM_ENABLE=0, and "
    "NCCL_DEBUG=INFO says how far it comes"
)


@check("live-nccl", "NCCL reduces over the devices of this machine", imports=True)
def live_nccl(context: Context) -> Iterator[Finding]:
    """NCCL reduces over all devices of this machine.

    A process for each device adds its number to a vector, and each must get the whole sum: with one
    device a group of one, which still loads and sets up NCCL. In a process tree of its own, with a time
    limit, for NCCL's failures hang more often than they raise. Between several devices it may need
    shared memory, of which a container has 64 MiB by itself. Skipped without a driver.
    """
    try:
        answer = attempt(context, "all-reduce")
    except StepError as problem:
        problem_ = broken(problem, "all-reduce over NCCL", "run it with NCCL_DEBUG=INFO for more")
        yield replace(problem_, fix=HANGS) if SILENT in str(problem) else problem_
        return
    right = answer["expected"]
    if answer["values"] != [[right, right]] * answer["devices"]:
        yield failed(
            f"all-reduce gave {answer['values']}",
            expected=f"{right} on each of {answer['devices']}",
            fix="try NCCL_P2P_DISABLE=1: the path between the devices may be broken (IOMMU)",
        )
    if answer["devices"] > 1:
        yield from _small_memory()
    yield ok(f"world size {answer['devices']}")


SHARED = Path("/dev/shm")
ENOUGH = 1 << 30  # bytes; docker gives 64 MiB


def _small_memory() -> Iterator[Finding]:
    """Shared memory that does for one reduction, and not for vLLM's processes."""
    try:
        size = shutil.disk_usage(SHARED).total
    except OSError:
        return
    if size < ENOUGH:
        yield warning(
            f"{size / 2**20:.0f} MiB of shared memory",
            where=str(SHARED),
            expected="1 GiB or more, for several devices",
            fix="start the container with --shm-size=8g or --ipc=host; as root on the host: "
            "mount -o remount,size=8g /dev/shm",
        )


FIX = "Triton needs a C compiler (CC), libcuda.so.1 (TRITON_LIBCUDA_PATH) and a ptxas: see `triton`"


@check("live-triton", "Triton compiles a kernel on this machine, and it computes", imports=True)
def live_triton(context: Context) -> Iterator[Finding]:
    """Triton compiles a kernel here, and it computes.

    Compiling takes a C compiler, the driver's library and an assembler that knows the device, which is
    more than importing Triton shows. Two vectors are added and compared exactly. Skipped without a
    driver or Triton.
    """
    context.here()
    if context.triton() is None:
        raise SkipError("Triton is not installed")
    try:
        error = attempt(context, "triton")["error"]
    except StepError as problem:
        yield broken(problem, "a kernel that adds two vectors", FIX)
        return
    if error:
        yield failed(
            f"off by {error}",
            where="a kernel that adds two vectors",
            expected="the exact sum",
            fix="Triton's assembler and driver do not fit: see `triton`",
        )
    yield ok("two vectors added")


BOUND = 2.0**-8
WHERE = "causal attention of 128 positions by {}, float16 beside float64"


@check("live-attention", "Attention kernels compute what double precision does", imports=True)
def live_attention(context: Context) -> Iterator[Finding]:
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
                fix=f"build {name} for this device; until then choose another attention backend",
            )
        else:
            yield ok(f"{name} within {error:.2g}")
