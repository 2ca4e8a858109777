"""What is compiled on first use, and with what: Triton's kernels, FlashInfer's, torch's own."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from vllm_nix.gpu.device import Device
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning

PLACES = ("triton/backends/nvidia/bin", "triton/third_party/cuda/bin")
BLACKWELL = Version("3.6")  # the first Triton with a ptxas of its own for 10.0 and above


@dataclass(frozen=True, slots=True)
class Assembler:
    """A program of Triton's, and the variable that names another one in its place."""

    name: str
    variable: str


PTXAS = Assembler("ptxas", "TRITON_PTXAS_PATH")
PTXAS_BLACKWELL = Assembler("ptxas-blackwell", "TRITON_PTXAS_BLACKWELL_PATH")


@check("triton", "Triton's assembler (ptxas) knows the device")
def triton(context: Context) -> Iterator[Finding]:
    """Triton's assembler knows the device.

    Triton compiles kernels on the machine, with the ptxas of its wheel or the one that
    TRITON_PTXAS_PATH names; from 3.6 on, for capability 10.0 and above, with ptxas-blackwell or the one
    that TRITON_PTXAS_BLACKWELL_PATH names. One that is named and does not start is passed over without a
    word. An old ptxas does not know a new device ("Value 'sm_121' is not defined for option
    'gpu-name'"), and one for another processor does not start. It is asked for its own list.

    Seen in triton#8096, triton#5498, triton#10331, vllm#34470. The choice is made in Triton's
    knobs.py and backends/nvidia/compiler.py.
    """
    devices = context.gpus()
    distribution = context.installed("triton")
    if distribution is None:
        raise SkipError("Triton is not installed")
    told = []
    for device in devices:
        assembler = assembler_of(distribution.version, device)
        program, known, findings = _program(context, assembler)
        yield from findings
        if program is None:
            continue
        if str(device.capability.number) not in known:
            yield _unknown(context, assembler, program, device, known)
            continue
        told.append(f"{program.name} knows {device.name}")
    if told:
        yield ok("; ".join(dict.fromkeys(told)))


def assembler_of(version: str, device: Device) -> Assembler:
    """The one that a release of Triton takes for a device."""
    try:
        is_new = Version(Version(version).public) >= BLACKWELL
    except InvalidVersion:
        is_new = True
    return PTXAS_BLACKWELL if is_new and device.capability.number >= 100 else PTXAS


def _program(context: Context, assembler: Assembler) -> tuple[Path | None, set[str], list[Finding]]:
    """The program that Triton runs, the one that is named, if it starts, or its own; and the
    architectures that it knows, as their numbers."""
    findings: list[Finding] = []
    here = os.environ.get(assembler.variable)
    if named := here or context.parameter("run", "env", assembler.variable):
        known = _known(context, Path(named))
        if not isinstance(known, str):
            return Path(named), known, []
        findings.append(
            warning(
                f"{assembler.variable} names what does not start: {known}; Triton takes its own",
                where=named,
                fix=f"name a ptxas of CUDA's for this machine, or unset {assembler.variable}",
            )
        )
    for place in PLACES:
        for file in context.packages.glob(f"{place}/{assembler.name}"):
            known = _known(context, file)
            if not isinstance(known, str):
                return file, known, findings
            fix = f"install the triton wheel for this machine, or set {assembler.variable}"
            broken = failed(f"does not start: {known}", where=context.place(file), fix=fix)
            return None, set(), [*findings, broken]
    context.follow("triton")
    fix = f"name CUDA's ptxas in {assembler.variable}, such as /usr/local/cuda/bin/ptxas"
    none = failed(f"Triton has no {assembler.name}", where="triton", fix=fix)
    return None, set(), [*findings, none]


def _known(context: Context, program: Path) -> set[str] | str:
    """The architectures that a ptxas knows, as their numbers; or why it does not start."""
    try:
        outcome = context.environment.run(program, "--help")
    except OSError as error:
        return str(error.strerror)
    return outcome.end or set(re.findall(r"'sm_([0-9]{2,3})[af]?'", outcome.stdout))


def _unknown(
    context: Context, assembler: Assembler, program: Path, device: Device, known: set[str]
) -> Finding:
    newest = max(known, key=int, default="none")
    is_newer = device.capability.number > int(newest) if known else True
    return failed(
        f"{assembler.name} knows architectures up to sm_{newest}"
        + ("" if is_newer else f", and not sm_{device.capability.number}"),
        where=context.place(program),
        expected=f"one that knows {device.name}",
        fix=f"set {assembler.variable} to the ptxas of a CUDA that knows sm_"
        f"{device.capability.number}, or update triton",
    )
