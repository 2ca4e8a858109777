"""Code for the GPU: in every library, in the driver's reach, and what compiles more of it."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from vllm_nix.binaries.elf import Dynamic
from vllm_nix.binaries.files import AARCH64
from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.compat import (
    Judgement,
    Verdict,
    fix_missing,
    is_beside_what_runs,
    is_called_on,
    is_essential,
    is_on_request,
    judge,
)
from vllm_nix.gpu.device import (
    Device,
    first_driver,
    is_release,
    jetpack_release,
    release,
    rules,
)
from vllm_nix.gpu.fatbin import Fatbin
from vllm_nix.gpu.libraries import RUNS, Library
from vllm_nix.targets import load_target, target_names
from vllm_nix.verification.alternatives import unused
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.checks.compiling import flashinfer, pieces
from vllm_nix.verification.environment import lookup
from vllm_nix.verification.fixes import fix_closed, fix_for
from vllm_nix.verification.installed import Distribution
from vllm_nix.verification.known import EVERY_START
from vllm_nix.verification.machine import Driver
from vllm_nix.verification.owning import optional
from vllm_nix.verification.report import Status
from vllm_nix.verification.tags import is_for_another

VLLMS = ("_C.", "_C_stable_libtorch.")
FIRST = ("vllm", "torch", "nvidia")


@check("gpu-code", "Every library has GPU code that the device runs", slow=True)
def gpu_code(context: Context) -> Iterator[Finding]:
    """Every library's GPU code runs on the device: kernels for it, for a related one, or PTX.

    A library is many translation units, each with code for several architectures, and the CUDA runtime
    picks one per unit: so one unit without code for the device is a crash ("no kernel image is
    available") waiting for its call. All libraries are read, NCCL's and flash-attention's as well as
    vLLM's own, without CUDA and without a GPU; `vllm-nix archs` shows the same, library by library.
    PTX that is too new is `ptx`'s. Units for devices of other major numbers alone are passed over, as
    vLLM's Marlin for Turing, unless they outnumber those that run: the library was then built for
    another device. What cannot be read is a fault of a library that all needs, else a warning.

    In a package that neither vLLM nor torch requires, nor a target, as LMCache, CuPy or an xformers
    that this vLLM does not ask for, it is a warning: vLLM starts without. flash-attn's and FlashInfer's
    kernels are called as soon as they are there, and count.

    Seen in vllm#19328 (sm_80 flash-attention on Orin), vllm#8708, jetson-containers#1220, jax#40487.
    """
    devices = context.gpus()
    if not context.facts.gpu_code():
        context.follow("vllm")
        raise SkipError("no library carries GPU code: see `torch-build`")
    own = [library.path for library in context.facts.gpu_code() if _is_vllms(library)]
    for_others = [file for file in own if is_for_another(context, file)]
    if own and own == for_others:
        yield failed(
            f"vLLM's kernels are for another Python: {for_others[0].name}",
            where="vllm",
            fix="install or compile vLLM with this environment's Python",
        )
    if context.installed("vllm") and not own and "vllm" not in context.packages.unfollowed:
        yield failed(
            "vLLM has no kernels of its own: it starts, and fails at the first request",
            where="vllm",
            expected="vllm/_C or vllm/_C_stable_libtorch",
            fix="install a wheel of vLLM for CUDA; one for the `empty` device has Python files alone, and so has "
            "a source tree before it is compiled: VLLM_USE_PRECOMPILED=1 pip install -e .",
        )
    for library in context.facts.gpu_code():
        if problem := unread(library):
            yield (failed if is_essential(library) else warning)(
                f"its GPU code cannot be read: {problem}",
                where=context.place(library.path),
                fix=fix_closed(
                    problem,
                    "install the wheel that owns it again; or it is of a CUDA newer than we know",
                ),
            )
    for device in devices:
        yield from _judge(context, device)


def _judge(context: Context, device: Device) -> Iterator[Finding]:
    counts = dict.fromkeys(Verdict, 0)
    judged = _judged(context, device)
    ease = _easing(context, device, judged)
    for library, judgement in sorted(judged, key=lambda pair: _rank(context, pair[0])):
        verdict, where = judgement.verdict, context.place(library.path)
        counts[verdict] += 1
        if verdict is Verdict.MISSING and not has_refused(library, device):
            finding = failed(
                judgement.why,
                where=where,
                expected=f"code for {device}",
                fix=fix_missing(library, device),
            )
            yield ease(finding, library)
        elif verdict is Verdict.UNKNOWN:
            yield warning(
                judgement.why,
                where=where,
                expected=f"code for {device}",
                fix="name the CUDA release of the device's driver with --cuda, or --jetpack",
            )
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    yield ok(f"{device}: {summary or 'nothing that can be judged'}")


def _judged(context: Context, device: Device) -> list[tuple[Library, Judgement]]:
    """What the device makes of each library that it may load."""
    others = set(map(str, unused(context)))
    return [
        (library, found)
        for library, found in context.facts.judged(device)
        if not (str(library.file) in others or (library.is_bare and not found.verdict.runs))
        and not is_for_another(context, library.path)
    ]


def _replaced(judged: Iterable[tuple[Library, Judgement]], device: Device) -> frozenset[str]:
    """The folders whose library is called that is for this device alone, and runs."""
    return frozenset(
        os.path.dirname(library.file)  # noqa: PTH120 -- of thousands
        for library, found in judged
        if found.verdict.runs and is_called_on(library, device)
    )


def _easing(
    context: Context, device: Device, judged: Iterable[tuple[Library, Judgement]]
) -> Callable[[Finding, Library], Finding]:
    """What makes a warning of a finding, where nothing calls what the device does not run unless it is
    asked for."""
    replaced, spared = _replaced(judged, device), optional(context)

    def ease(finding: Finding, library: Library) -> Finding:
        if is_beside_what_runs(library, device):
            why = "what you run calls them: its other kernels run"
        elif is_on_request(library):
            why = "you ask for it"
        elif os.path.dirname(library.file) in replaced:  # noqa: PTH120
            why = f"you ask for it: what vLLM calls on {device.capability} runs"
        elif owner := _spared(context, library.path, spared):
            why = f"you use {owner}, without which vLLM and torch do"
        else:
            return finding
        return replace(finding, status=Status.WARNING, fix=f"{finding.fix}, if {why}")

    return ease


def _spared(context: Context, file: Path, spared: Collection[str]) -> str:
    """The distribution that a library is of, if it is one of those, and not put into vLLM's own folders."""
    owner = context.facts.records().owner(file)
    if owner is None or context.packages.top(file) in EVERY_START:
        return ""
    return owner.name if owner.name in spared else ""


def _rank(context: Context, library: Library) -> int:
    """Whose library it is: a report shows only the first few findings."""
    folder = context.packages.top(library.path)
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


def _is_vllms(library: Library) -> bool:
    return library.path.parent.name == "vllm" and library.path.name.startswith(VLLMS)


@dataclass(frozen=True, slots=True)
class Runs:
    """The newest CUDA that a driver runs. `who` has it: a device, of a `capability`, or this machine's
    driver; it may have JetPack's forward compatibility package, which runs CUDA up to `compat`."""

    who: str
    cuda: str
    jetson: bool = False
    compat: str | None = None
    capability: ComputeCapability | None = None

    def takes(self, cuda: str) -> bool:
        """Whether a CUDA release compiles for the device, as far as that is known."""
        own = self.capability
        return own is None or not own.is_known or own.is_compiled_by(cuda)


def drivers(context: Context) -> Iterator[Runs]:
    """Those that the environment is to run with: of the devices that it is judged for, as far as known,
    and of this machine, if it is to run here."""
    if context.is_for_cpu and not context.is_asked:
        return
    jetpack = jetpack_release(context.jetpack) if context.jetpack else None
    for device in context.devices:
        if device.cuda:
            compat = jetpack.cuda_compat if jetpack else None
            own = device.capability
            yield Runs(str(device), device.cuda, own.jetson, compat, own)
    driver = context.driver
    is_here = context.is_here and context.is_asked and not context.is_for_cpu
    if is_here and isinstance(driver, Driver) and is_release(driver.version):
        jetson = all(gpu.integrated for gpu in driver.devices)
        yield Runs("this machine", driver.version, jetson)


def too_old(found: str, driver: Runs, major: int) -> Finding:
    """The finding for what was built for a major release of CUDA that a driver does not run."""
    runs = release(driver.cuda)[0]
    if driver.compat and release(driver.compat)[0] >= major:
        how = f"install JetPack's cuda-compat ({driver.compat}) and put it on LD_LIBRARY_PATH"
    elif driver.jetson:
        how = f"take a JetPack with CUDA {major}"
    else:
        how = f"update the driver{_newer(first_driver(f'{major}.0'))}"
        how += f"; on a data-centre GPU, cuda-compat-{major}-* does as well"
        if folder := next(iter(sorted(Path("/usr/local").glob(f"cuda-{major}*/compat"))), None):
            how += f" ({folder}, on LD_LIBRARY_PATH)"
    toolkits = {name: _toolkit(name) for name in target_names()}
    here = [
        name
        for name, cuda in toolkits.items()
        if cuda and release(cuda)[0] == runs and driver.takes(cuda)
    ]
    or_build = f"; or take a build for CUDA {runs}"
    if not driver.takes(f"{runs}.0") and driver.capability:
        or_build += f", of those that compile for the device: {driver.capability.compiled_by}"
    or_build += f" (target {here[0]})" if here and not driver.jetson else ""
    or_build = or_build if driver.takes(driver.cuda) else ""
    return failed(
        f"{found}; a driver for CUDA {driver.cuda} runs up to {runs}",
        expected=f"CUDA {runs} or older, for {driver.who}",
        fix=how + or_build,
    )


@cache
def _toolkit(target: str) -> str | None:
    """The CUDA release of a target for this project's desktop and server GPUs."""
    data = load_target(target).data
    toolkit = lookup(data, "cuda", "toolkit")
    return str(toolkit) if toolkit and target.startswith("cuda") else None


@check(
    "ptx", "The device's driver is new enough for the CUDA and the PTX of each library", slow=True
)
def ptx(context: Context) -> Iterator[Finding]:
    """The driver is for the libraries' major release of CUDA or a newer one, and knows their PTX.

    A library runs with the drivers of its whole major release of CUDA, and with all that are newer
    (minor version compatibility). Which one that is, is in the names that it needs: libcudart.so.13,
    libcublas.so.13. With an older driver it fails when it is first called: "CUDA driver version is
    insufficient for CUDA runtime version". NVIDIA's forward compatibility packages (cuda-compat) have a
    newer driver's library, for data-centre GPUs and Jetson.

    Where a library has no kernels for a device, the driver compiles its PTX at first start, if it knows
    that version of the language: each CUDA release has a newer one, and minor version compatibility
    does not cover it. A driver that is too old says "the provided PTX was compiled with an unsupported
    toolchain".

    Without its compiler, a library of its own, the driver says "PTX JIT compiler library not found".

    Seen in FunASR#2973, verl-omni#133, vllm#31700, lmdeploy#759, jetpack-nixos#184; the rules are
    NVIDIA's: CUDA Compatibility, "Minor Version Compatibility", and the CUDA C++ Programming Guide.
    """
    context.gpus()
    known = tuple(drivers(context))
    if not known:
        reason = "the driver's CUDA release is not known; name it with --cuda or --jetpack"
        raise SkipError(reason, harmless=False)
    for driver in known:
        yield from _built_for_newer(context, driver)
    for device in context.devices:
        if not device.cuda:
            continue
        compiled = 0
        judged = _judged(context, device)
        ease = _easing(context, device, judged)
        for library, judgement in judged:
            compiled += Verdict.JIT in judgement.counts
            if judgement.verdict is Verdict.MISSING and has_refused(library, device):
                finding = failed(
                    judgement.why,
                    where=context.place(library.path),
                    expected=f"PTX {device.ptx_isa} or older",
                    fix=_newer_driver(library, device),
                )
                yield ease(finding, library)
        here = context.driver
        if compiled and context.is_here and isinstance(here, Driver) and not here.compiles:
            yield failed(
                f"{compiled} libraries have PTX alone for {device}, and the driver's compiler is not there",
                expected="libnvidia-ptxjitcompiler.so.1",
                fix=fix_for("PTX JIT compiler library not found"),
            )
        yield ok(f"{device} compiles up to PTX {device.ptx_isa}; {compiled} libraries need it to")


# Of these, the number after ".so" is CUDA's major release; others count for themselves.
RUNTIME = re.compile(r"lib(?:cudart|nvrtc|cublas|cublasLt|nvJitLink)\.so\.([0-9]{2,3})(?:\.|$)")


def _built_for_newer(context: Context, driver: Runs) -> Iterator[Finding]:
    """What needs a newer CUDA: a fault of what every start of vLLM loads."""
    runs = release(driver.cuda)[0]
    users: defaultdict[tuple[bool, int], list[str]] = defaultdict(list)
    left_alone = unused(context)
    for file, image in context.facts.binaries().images.items():
        if file in left_alone:
            continue
        needed = image.needed
        major = max((int(found[1]) for name in needed if (found := RUNTIME.match(name))), default=0)
        folder = context.packages.top(file)
        if major > runs and folder != "nvidia":  # those load each other
            is_essential = folder.partition(".")[0] in EVERY_START
            users[is_essential, major].append(context.place(file))
    wanted = " ".join(text for name in ("torch", "vllm") for text in _requires(context, name))
    for distribution in (
        () if any(is_essential for is_essential, _ in users) else context.distributions
    ):
        name, major = distribution.name, _major(distribution)
        other = name.replace(f"-cu{major}", f"-cu{runs}")  # for either, as CUTLASS has
        if major > runs and (other == name or not context.installed(other)):
            users[name in wanted or name in EVERY_START, major].append(name)
    for (is_essential, major), names in sorted(users.items(), reverse=True):
        others = f", and {len(names) - 1} others do" if len(names) > 1 else ""
        finding = too_old(f"needs CUDA {major}{others}", driver, major)
        status = finding.status if is_essential else Status.WARNING
        yield replace(finding, where=min(names), status=status)


def _requires(context: Context, name: str) -> tuple[str, ...]:
    distribution = context.installed(name)
    return distribution.requires if distribution else ()


def _major(distribution: Distribution) -> int:
    """CUDA's major release of a wheel of NVIDIA's, or of one that is labelled; 0 for all others."""
    name = distribution.name if distribution.name.startswith("nvidia-") else ""
    label = distribution.version.partition("+")[2]
    if found := re.search(r"-cu([0-9]{2})$", name) or re.match(r"cu([0-9]{2})[0-9]", label):
        return int(found[1])
    version = re.match(r"[0-9]{2}(?=\.)", distribution.version)
    return int(version[0]) if version and distribution.name == "nvidia-cuda-runtime" else 0


def _newer_driver(library: Library, device: Device) -> str:
    """What to do about PTX that a device's driver does not know."""
    needed = max(
        (entry.version for one in library.fatbins for entry in one.entries if entry.kind == "ptx"),
        default=(0, 0),
    )
    isas: dict[str, str] = rules()["ptx-isa"]
    cuda = next((cuda for cuda, isa in isas.items() if release(isa) >= needed), None)
    if device.capability.jetson:
        return "take a newer JetPack, or build with a toolkit no newer than its driver"
    driver = _newer(first_driver(cuda)) if cuda else ""
    return f"update the driver{driver}, or build with a toolkit no newer than it"


def _newer(driver: str | None) -> str:
    return f" to {driver} or newer" if driver else ""


# By distribution: where its kernels are. vLLM's own flash-attention is inside vLLM since 0.6.2.
KERNELS = {
    "vllm": ("vllm/vllm_flash_attn/*.so", "vllm/vllm_flash_attn_c*.so"),
    "vllm-flash-attn": ("vllm_flash_attn_2_cuda*.so", "vllm_flash_attn/*.so"),
    "flash-attn": ("flash_attn_2_cuda*.so",),
    "xformers": ("xformers/_C*.so", "xformers/_C_flashattention*.so"),
}
# With the first capability that they are for: FlashInfer refuses older ones (compilation_context.py).
COMPILED_ON_USE = {"flashinfer-python": 75}


@check("attention", "vLLM has attention kernels that the device runs", slow=True)
def attention(context: Context) -> Iterator[Finding]:
    """vLLM has a library of attention kernels, whole and with code for the device.

    vLLM needs one of flash-attention (its own, or a package before 0.6), xformers or FlashInfer, and
    falls from one to the next without a word. xformers without its compiled part imports and fails at
    the first request; FlashInfer compiles its kernels when they are used, with an nvcc, which counts
    where it is the only one. Its pieces must be of one version. Which libraries lack code for
    the device is `gpu-code`'s to say; here it counts whether any is left.

    Seen in xformers#944, mistral-inference#80, vllm#19328; flash-attention#986 and #1146.
    """
    devices = context.gpus()
    if context.installed("vllm") is None:
        raise SkipError("vLLM for CUDA is not installed")
    files = _files(context)
    if "xformers" in files and not files["xformers"]:
        yield warning(
            "xformers has no compiled kernels: it imports, and fails when it is used",
            where="xformers",
            fix="pip uninstall xformers, or build it with CUDA for this device",
        )
    yield from pieces(context)
    late = [name for name in COMPILED_ON_USE if context.installed(name)]
    present = [name for name, found in files.items() if found]
    if not present and not late:
        for name in KERNELS:
            context.follow(name)
        yield failed(
            "no attention kernels: neither flash-attention, xformers nor FlashInfer",
            expected="at least one of them",
            fix="build vLLM with its flash-attention, or install flash-attn for this torch",
        )
        return
    for device in devices:
        usable = libraries(context, device)
        suited = [name for name in late if device.capability.number >= COMPILED_ON_USE[name]]
        if late and not (usable or suited or present):
            yield failed(
                "FlashInfer alone has attention kernels, for capability 7.5 and newer",
                where="flashinfer-python",
                expected=f"kernels for {device}",
                fix="install xformers for this torch, built for the device, and a vLLM that takes it (0.7 does)",
            )
            continue
        if not usable and not suited:
            for name in KERNELS:
                context.follow(name)
            if _is_said(context, device, files):
                raise SkipError(
                    f"{', '.join(present)}: no code for {device}: see `gpu-code`, `ptx`"
                )
            yield _left_to_triton(context, device, present)
            continue
        if not usable and (lacks := list(flashinfer(context, device))):
            yield from lacks
            continue
        rest = [name for name in present if name not in usable]
        runs = f"{device} runs the kernels of {', '.join(usable + suited)}"
        yield ok(runs + (f", not of {', '.join(rest)}" if rest else ""))


def libraries(context: Context, device: Device) -> list[str]:
    """The distributions whose attention kernels the device runs."""
    return [name for name, files in _files(context).items() if _runs(context, device, files)]


def _files(context: Context) -> dict[str, list[Path]]:
    """By distribution, if it is installed: its libraries of kernels."""
    return {
        name: [
            file
            for pattern in patterns
            for file in context.packages.glob(pattern)
            if not is_for_another(context, file)
        ]
        for name, patterns in KERNELS.items()
        if context.installed(name)
    }


def _runs(context: Context, device: Device, files: list[Path]) -> bool:
    """Whether any of the libraries has nothing that the device would miss."""
    judged = {library.path: found for library, found in context.facts.judged(device)}
    return any(
        file in judged and (judged[file].verdict.runs or judged[file].verdict is Verdict.UNKNOWN)
        for file in files
    )


def _is_said(context: Context, device: Device, files: Mapping[str, list[Path]]) -> bool:
    """Whether `gpu-code` or `ptx` says that the device misses kernels, as they do not if those are for other
    devices, or of what vLLM does without."""
    judged = {library.path: found for library, found in context.facts.judged(device)}
    spared = optional(context)
    return any(
        file in judged and judged[file].verdict is Verdict.MISSING
        for name, several in files.items()
        if name not in spared
        for file in several
    )


def _left_to_triton(context: Context, device: Device, present: Iterable[str]) -> Finding:
    """The finding for a device that no kernels are compiled for: what vLLM has in Triton is left to it."""
    has_own = any(context.packages.glob("vllm/v1/attention/backends/triton_attn.py"))
    ways = [
        f"install {name} in the release that vLLM asks for"
        for name, first in COMPILED_ON_USE.items()
        if device.capability.number >= first
    ]
    places = ("vllm/attention/backends/xformers.py", "vllm/v1/attention/backends/xformers.py")
    if any(file for place in places for file in context.packages.glob(place)):
        ways.append("install xformers for this torch, built for the device")
    else:
        ways.append("take an older vLLM that has xformers, built for the device")
    return (warning if has_own else failed)(
        f"no kernels of {', '.join(present)} are for {device}"
        + (": vLLM has Triton's left, or none for some models" if has_own else ""),
        expected=f"attention kernels with code for {device}",
        fix=", or ".join(ways),
    )


@check("sbsa", "On Jetson, CUDA's libraries are those of its JetPack")
def sbsa(context: Context) -> Iterator[Finding]:
    """On Jetson, CUDA's libraries are those of its own system (L4T), or SBSA's where it takes them.

    NVIDIA builds CUDA for aarch64 twice: for servers (SBSA) and, until JetPack 7.2, for Jetson (L4T).
    The wheels of the public registry are SBSA's. On an older JetPack they load, and fail when they are
    called ("named symbol not found", wrong results of allocation), even if their kernels suit the
    device. What is SBSA's is known by its owner, an `nvidia-*` wheel, or by a run path into
    `sbsa-linux`.

    Seen in bitsandbytes#1930 and #1941, jetson-containers#1514; the rule is in NixOS/nixpkgs#530931.
    """
    if not any(device.capability.jetson for device in context.gpus()):
        raise SkipError("not a Jetson")
    if context.jetpack is None:
        raise SkipError("the JetPack release is not known; name it with --jetpack", harmless=False)
    release = jetpack_release(context.jetpack)
    if release.libraries == "sbsa":
        raise SkipError(f"JetPack {release.release} takes SBSA's libraries")
    libraries = dict(_libraries(context))
    if not libraries:
        raise SkipError("no library is for aarch64")
    for name, (count, evidence) in _foreign(context, libraries).items():
        yield failed(
            f"{name}: {count} libraries of SBSA ({evidence})",
            expected=f"L4T's, as of JetPack {release.release}",
            fix="take torch and its libraries from a build for Jetson, not from the registry",
        )
    yield ok(f"none of {len(libraries)} libraries is SBSA's, as JetPack {release.release} has it")


def _libraries(context: Context) -> Iterator[tuple[Path, Dynamic]]:
    """Those for aarch64, but for the stubs that packages for another processor have beside."""
    images = context.facts.binaries().images
    records = context.facts.records()
    others = {records.owner(file) for file, image in images.items() if image.machine != AARCH64}
    for file, image in images.items():
        owner = records.owner(file)
        if image.machine == AARCH64 and image.dynamic and (owner is None or owner not in others):
            yield file, image.dynamic


def _foreign(context: Context, libraries: dict[Path, Dynamic]) -> dict[str, tuple[int, str]]:
    """By distribution: how many of its libraries are SBSA's, and how that shows."""
    records = context.facts.records()
    counts: defaultdict[str, int] = defaultdict(int)
    evidence: dict[str, str] = {}
    for file, dynamic in libraries.items():
        owner = records.owner(file)
        name = owner.name if owner else context.place(file)
        paths = [*dynamic.rpath, *dynamic.runpath]
        into = next((path for path in paths if "sbsa-linux" in path), "")
        if name.startswith("nvidia-") or into:
            counts[name] += 1
            evidence.setdefault(name, f"run path {into}" if into else "a wheel of NVIDIA's")
    return {name: (count, evidence[name]) for name, count in counts.items()}


def unread(library: Library) -> str:
    """What of a library's GPU code cannot be read; "" if all can."""
    more = len(library.damage) - 1
    return "".join(library.damage[:1]) + (f"; and {more} more" if more > 0 else "")


def is_refused(fatbin: Fatbin, device: Device) -> bool:
    """Whether PTX is what the device would run, were it not too new for its driver."""
    if judge(fatbin, device) is not Verdict.MISSING:
        return False
    return any(
        entry.kind == "ptx" and judge(fatbin._replace(entries=(entry,)), device) is Verdict.MISSING
        for entry in fatbin.entries
    )


def has_refused(library: Library, device: Device) -> bool:
    """Whether a library runs nowhere on the device because its PTX is too new for the driver."""
    return any(is_refused(one, device) for one in library.fatbins if one.role in RUNS)
