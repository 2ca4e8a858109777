"""torch computes on each device that the driver has.

The driver's own library says which devices there are, without torch; then torch is asked, in a
process of its own, and adds numbers up on each. A driver that is older than the CUDA of torch, a
container without the device, or a torch without code for it show here. Skipped without a driver.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, check, failed, ok, warning
from vllm_nix.verification.live import attempt, broken
from vllm_nix.verification.survey import StepError

SUM = 499500  # of 0 to 999


@check("live-device", "torch computes on each device of this machine")
def live_device(context: Context) -> Iterator[Finding]:
    driver = context.here()
    try:
        answer = attempt(context, "device")
    except StepError as problem:
        cure = f"compare the driver's CUDA ({driver.version}) with torch's"
        yield broken(problem, "a sum on the device", cure)
        return
    seen = [device["capability"] for device in answer["devices"]]
    there = [gpu.capability for gpu in driver.devices]
    if sorted(seen) != sorted(there):
        yield failed(
            f"torch sees {', '.join(seen) or 'no device'}",
            expected=f"the driver's: {', '.join(there)}",
            cure="look at CUDA_VISIBLE_DEVICES",
        )
    for device in answer["devices"]:
        if device["sum"] != SUM:
            yield failed(
                f"the sum is {device['sum']}",
                where=device["name"],
                expected=str(SUM),
                cure="the device or its driver is broken: see dmesg",
            )
    wanted = context.parameter("cuda", "capabilities")
    if wanted and not set(wanted) & set(there):
        yield warning(
            f"this machine has {', '.join(there)}",
            expected=f"one of the target's: {', '.join(wanted)}",
            cure="take the target of this device: vllm-nix targets",
        )
    names = ", ".join(f"{gpu.name} ({gpu.capability})" for gpu in driver.devices)
    yield ok(f"{names}; driver for CUDA {driver.version}, torch for {answer['cuda']}")
