"""What is compiled on first use, and with what: Triton's kernels, FlashInfer's, torch's own."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from vllm_nix.binaries.files import open_regular
from vllm_nix.gpu.device import Device
from vllm_nix.text import quoted
from vllm_nix.verification.caches import unfit
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.fixes import fix_for
from vllm_nix.verification.machine import Driver
from vllm_nix.verification.survey import StepError, answered

PLACES = ("triton/backends/nvidia/bin", "triton/third_party/cuda/bin")
BLACKWELL = (3, 6)  # the first Triton with a ptxas of its own for 10.0 and above


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
    TRITON_PTXAS_PATH names; from 3.6 on, for capability 10.0 and above, with ptxas-blackwell or
    the one that TRITON_PTXAS_BLACKWELL_PATH names. One that is named and does not start is passed
    over without a word. An old ptxas does not know a new device ("Value 'sm_121' is not defined
    for option 'gpu-name'"), and one for another processor does not start. It is asked for its own
    list.

    Seen in triton#8096, triton#5498, triton#10331, vllm#34470. The choice is made in Triton's
    knobs.py and backends/nvidia/compiler.py.
    """
    devices = context.gpus()
    distribution = context.triton()
    if distribution is None:
        raise SkipError("Triton is not installed")
    suited = []
    for device in devices:
        assembler = assembler_of(distribution.version, device)
        program, known, findings = _program(context, assembler)
        yield from findings
        if program is None:
            continue
        if str(device.capability.number) not in known:
            yield _unknown(context, assembler, program, device, known)
            continue
        suited.append(f"{program.name} knows {device.name}")
    if suited:
        yield ok("; ".join(dict.fromkeys(suited)))


def assembler_of(version: str, device: Device) -> Assembler:
    """The one that a release of Triton takes for a device."""
    try:
        is_new = Version(version).release >= BLACKWELL
    except ValueError:
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
    own, newest = device.capability, max(known, key=int, default="none")
    is_newer = own.number > int(newest) if known else True
    cudas = own.compiled_by if own.is_known else f"that knows sm_{own.number}"
    fix = f"set {assembler.variable} to the ptxas of CUDA {cudas}"
    if os.environ.get(assembler.variable) == str(program):
        fix = f"unset {assembler.variable}, if Triton's own is newer; or {fix}"
    elif not (own.is_known and own.compilers[1]):  # else newer ones leave it out
        fix += ", or update triton"
    return failed(
        f"{assembler.name} knows architectures up to sm_{newest}"
        + ("" if is_newer else f", and not sm_{own.number}"),
        where=context.place(program),
        expected=f"one that knows {device.name}",
        fix=fix,
    )


def tools(context: Context, *languages: str) -> Mapping[str, Any]:
    """The compilers that the environment finds here, those of `languages` ("C", "C++") tried."""
    outcome = context.environment.probe("compilers", json.dumps(languages))
    if len(outcome.answers) != 1:
        raise StepError(f"{outcome.end or 'no answer'}: {outcome.last_words()}".strip(": "))
    return answered({"value": outcome.answers[0]})


def severity(context: Context) -> Callable[..., Finding]:
    """A tool that is missing is a fault where the environment has its own or is to run; the machine
    that has the device may well have it."""
    return failed if context.manifest or isinstance(context.driver, Driver) else warning


VARIABLES = {"C": "CC", "C++": "CXX"}
FIXES = {
    "C": "apt-get install gcc python3-dev, or name a C compiler in CC",
    "C++": "apt-get install g++ python3-dev, or name a C++ compiler in CXX; or start with --enforce-eager",
}


@check("compilers", "What is compiled on first use finds its compiler")
def compilers(context: Context) -> Iterator[Finding]:
    """The compilers that kernels are built with on first use are there, and compile.

    Triton compiles a launcher for its kernels in C, with CC, gcc or clang, against Python.h; on
    the CPU torch's inductor compiles C++ with CXX or g++, with OpenMP. Both are found as these
    libraries find them, in the environment, and a few lines with the same headers are compiled.
    Without them vLLM fails at its start ("Failed to find C compiler", "fatal error: Python.h",
    InvalidCxxCompiler). So it does where the folder for what they make cannot be written to, or is
    mounted noexec (TRITON_CACHE_DIR, TORCHINDUCTOR_CACHE_DIR, VLLM_CACHE_ROOT, the home).
    For a device that is not here, this machine's say little: then it is a warning.

    Seen in vllm#2997, sglang#1117, pytorch#92745, triton#518, vllm#10185; triton/runtime/build.py
    and torch/_inductor.
    """
    languages = {}
    if context.triton() and not context.is_for_cpu:
        languages["C"] = "Triton"
    if context.installed("vllm") and context.is_for_cpu:
        languages["C++"] = "torch's inductor"
    if not languages:
        yield ok("nothing here is compiled on first use")
        return
    context.python()
    tries = tools(context, *languages)["tries"]
    for language, user in languages.items():
        program, problem = tries[language]["program"], tries[language]["problem"]
        if problem:
            report = failed if language == "C++" else severity(context)
            fix = FIXES[language]
            if (named := os.environ.get(VARIABLES[language])) and named == program:
                fix += f"; or unset {VARIABLES[language]}, which names {named}"
            yield report(
                f"{user} cannot compile {language}: {problem}",
                where=program,
                fix=fix_for(problem, fix),
            )
        else:
            yield ok(f"{user} compiles {language}", program)
    for cache, problem in unfit(context):
        report = failed if context.is_for_cpu else severity(context)
        yield (report if cache.is_named else warning)(
            f"{cache.user} cannot keep there what it compiles: {problem}",
            where=str(cache.folder),
            fix=f"name a folder that this user may write to, not mounted noexec, in {cache.variable}",
        )


def flashinfer(context: Context, device: Device) -> Iterator[Finding]:
    """What FlashInfer lacks where it is all that there is for a device: it compiles its kernels."""
    if _has_attention(context) or isinstance(context.interpreter, str):
        return
    if lack := cannot_compile(context, device, by_path=_wants_path(context)):
        problem, fix = lack
        yield severity(context)(
            f"FlashInfer alone has kernels for {device}, and cannot compile them: {problem}",
            where="flashinfer-python",
            expected="nvcc with its headers, and ninja",
            fix=fix,
        )


def cannot_compile(
    context: Context, device: Device, by_path: bool = False
) -> tuple[str, str] | None:
    """Why FlashInfer cannot compile its kernels for a device, and what to do; None if it can. With
    `by_path`, nvcc must be on PATH as well."""
    language = f"CUDA {device.capability.number}"
    found = tools(context, language)
    nvcc, on_path = found["tries"][language], found["on-path"]
    problem = nvcc["problem"]
    torch = context.installed("torch")
    version = torch.version if torch else ""
    fix = (
        f"install CUDA's toolkit in the release of torch {version}, name its "
        "folder in CUDA_HOME and have its bin on PATH; or install flashinfer-jit-cache"
    )
    if problem:
        known = fix_for(problem) if nvcc["program"] else ""
        return problem, known or fix
    if by_path and not on_path["nvcc"]:
        return f"{nvcc['program']} is not on PATH, where this vLLM looks for it", fix
    if not on_path["ninja"]:
        return "ninja is not found", "pip install ninja, and have the environment's bin on PATH"
    torchs, own = _cuda_of_torch(context), nvcc.get("release", "")
    if torchs is not None and own and own.partition(".")[0] != str(torchs):
        return f"{nvcc['program']} is of CUDA {own}, and torch for CUDA {torchs}", fix
    return None


def _has_attention(context: Context) -> bool:
    """Whether flashinfer-jit-cache has kernels of attention; this project's has what a target names."""
    modules = [
        file.stem for file in context.packages.glob("flashinfer_jit_cache*/jit_cache/*/*.so")
    ]
    is_there = context.installed("flashinfer-jit-cache") is not None
    return is_there and (not modules or any(name.startswith("batch_prefill") for name in modules))


def _wants_path(context: Context) -> bool:
    """Whether this vLLM takes FlashInfer only if nvcc is on PATH, as releases do whose
    utils/flashinfer.py does not ask CUDA_HOME."""
    for file in context.packages.glob("vllm/utils/flashinfer.py"):
        with suppress(OSError), open_regular(file) as stream:
            return b"CUDA_HOME" not in stream.read(1 << 20)
    return True


def pieces(context: Context) -> Iterator[Finding]:
    """FlashInfer's distributions, which must be of one version: it refuses others, or passes them
    over (flashinfer/jit/env.py)."""
    own = context.installed("flashinfer-python")
    if own is None or os.environ.get("FLASHINFER_DISABLE_VERSION_CHECK"):
        return
    for distribution in context.distributions:
        name, version = distribution.name, distribution.version
        if name.startswith(("flashinfer-cubin", "flashinfer-jit-cache")):
            # jit-cache has the CUDA release as its label
            public = version.partition("+")[0] if "jit-cache" in name else version
            if public != own.version.partition("+")[0] and version != own.version:
                wanted = f"{name}=={own.version.partition('+')[0]}"
                yield warning(
                    f"{name} {version} beside flashinfer-python {own.version}",
                    expected=f"{name} {own.version}: FlashInfer stops, or does without",
                    fix=f"pip install {quoted(wanted)}",
                )
            elif (cuda := _cuda_of_label(version)) and (torchs := _cuda_of_torch(context)) not in (
                None,
                cuda,
            ):
                yield warning(
                    f"{name} {version} is for CUDA {cuda}, and torch for CUDA {torchs}",
                    expected=f"{name} for CUDA {torchs}: the kernels need libcudart.so.{torchs}",
                    fix=f"install {name} {own.version} from FlashInfer's index of wheels for CUDA {torchs}",
                )


_CUDART = re.compile(r"libcudart\.so\.([0-9]{2})(?:\.|$)")


def _cuda_of_label(version: str) -> int | None:
    """CUDA's major release in a version's label: 13 of 0.7.2+cu130."""
    found = re.match(r"cu([0-9]{2})[0-9]{1,2}$", version.partition("+")[2])
    return int(found[1]) if found else None


def _cuda_of_torch(context: Context) -> int | None:
    """CUDA's major release that torch's libraries ask for."""
    for file, image in context.facts.binaries().images.items():
        if context.packages.top(file) == "torch":
            for name in image.needed:
                if found := _CUDART.match(name):
                    return int(found[1])
    torch = context.installed("torch")
    return _cuda_of_label(torch.version) if torch else None
