"""Triton's assembler knows the device.

Triton compiles kernels on the machine, with the ptxas of its wheel or the one that
TRITON_PTXAS_PATH names. An old ptxas does not know a new device ("Value 'sm_121' is not defined for
option 'gpu-name'"), and one for another processor does not start. It is asked for its own list.

Seen in triton#8096, triton#5498.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok

PLACES = ("triton/backends/nvidia/bin/ptxas*", "triton/third_party/cuda/bin/ptxas")


@check("triton", "Triton's assembler (ptxas) knows the device")
def triton(context: Context) -> Iterator[Finding]:
    devices = context.gpus()
    if context.installed("triton") is None:
        raise SkipError("Triton is not installed")
    named = os.environ.get("TRITON_PTXAS_PATH")
    found = [file for place in PLACES for file in sorted(context.site_packages.glob(place))]
    programs = [Path(named)] if named else found
    if not programs:
        yield failed(
            "Triton has no ptxas",
            where="triton",
            cure="name CUDA's in TRITON_PTXAS_PATH, such as /usr/local/cuda/bin/ptxas",
        )
        return
    known: set[str] = set()
    for program in programs:
        try:
            outcome = context.environment.run(program, "--help")
        except OSError as error:
            yield failed(
                f"does not start: {error.strerror}",
                where=context.place(program),
                cure="install the triton wheel for this machine, or set TRITON_PTXAS_PATH",
            )
            return
        known.update(re.findall(r"'sm_([0-9]+)[af]?'", outcome.stdout))
    where = ", ".join(map(context.place, programs))
    for device in devices:
        if str(device.capability.number) not in known:
            newest = max(known, key=int, default="none")
            yield failed(
                f"ptxas knows architectures up to sm_{newest}",
                where=where,
                expected=f"one that knows {device.name}",
                cure="set TRITON_PTXAS_PATH to the ptxas of a newer CUDA, or update triton",
            )
    yield ok(f"ptxas knows {', '.join(device.name for device in devices)}")
