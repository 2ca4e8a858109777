"""A note on memory, where GPU and processor share it.

An integrated GPU, as Jetson's, has the host's memory. `--gpu-memory-utilization` is then a share of
all of it, in which the operating system, its page cache and vLLM's own processes count as used: the
default of 0.9 leaves them a tenth, and vLLM fails at start ("Free memory on device ... is less than
desired") or has the kernel kill something. This is a note: nothing is wrong with the environment.

Seen in vllm#13131, vllm#18679, vllm#48140, vllm#35356.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, SkipError, check, ok
from vllm_nix.verification.driver import Driver

NOTE = (
    "shares the host's memory: start with --gpu-memory-utilization 0.6, and raise it while "
    "the host keeps what it needs"
)


@check("memory", "What to know of memory that GPU and host share")
def memory(context: Context) -> Iterator[Finding]:
    devices = context.gpus()
    shared = [str(device) for device in devices if device.capability.jetson]
    if isinstance(context.driver, Driver) and not context.is_asked:
        shared = [
            f"{gpu.name} ({gpu.memory / 2**30:.0f} GiB)"
            for gpu in context.driver.devices
            if gpu.integrated
        ]
    if not shared:
        raise SkipError("the GPU has memory of its own")
    yield ok(f"{shared[0]} {NOTE}")
