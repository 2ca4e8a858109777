"""Every library's GPU code runs on the device: kernels for it, for a related one, or PTX.

A library is many translation units, each with code for several architectures, and the CUDA runtime
picks one per unit: so one unit without code for the device is a crash ("no kernel image is
available") waiting for its call. All libraries are read, NCCL's and flash-attention's as well as
vLLM's own, without CUDA and without a GPU; `vllm-nix archs` shows the same, library by library.
PTX that is too new is `ptx`'s. Units for devices of other major numbers alone are passed over, as
vLLM's Marlin for Turing, unless they outnumber those that run: the library was then built for
another device. What cannot be read is a fault of a library that all needs, else a warning.

Seen in vllm#19328 (sm_80 flash-attention on Orin), vllm#8708, jetson-containers#1220, jax#40487.
"""

from collections.abc import Iterator

from vllm_nix.gpu.capability import arch_list
from vllm_nix.gpu.compat import Verdict
from vllm_nix.gpu.device import Device
from vllm_nix.gpu.inventory import Library
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.gpu_code import has_refused, unread

# Nothing runs without these; others may well have nothing for a device, as kernels for Hopper.
VLLMS = ("_C.", "_C_stable_libtorch.")
ESSENTIAL = ("libtorch_cuda.so", "libnccl.so", *VLLMS)
FIRST = ("vllm", "torch", "nvidia")


@check("gpu-code", "Every library has GPU code that the device runs", slow=True)
def gpu_code(context: Context) -> Iterator[Finding]:
    devices = context.gpus()
    if not context.gpu_code.libraries():
        raise SkipError("no library carries GPU code: see `torch-build`")
    if context.installed("vllm") and not any(map(_is_vllms, context.gpu_code.libraries())):
        yield failed(
            "vLLM has no kernels of its own: it starts, and fails at the first request",
            where="vllm",
            expected="vllm/_C or vllm/_C_stable_libtorch",
            cure="install a wheel of vLLM for CUDA; one for the `empty` device has Python files alone",
        )
    for library in context.gpu_code.libraries():
        if problem := unread(library):
            is_needed = library.path.name.startswith(ESSENTIAL)
            yield (failed if is_needed else warning)(
                f"its GPU code cannot be read: {problem}",
                where=context.place(library.path),
                cure="install the wheel that owns it again; or it is of a CUDA newer than we know",
            )
    for device in devices:
        yield from _judge(context, device)


def _judge(context: Context, device: Device) -> Iterator[Finding]:
    counts = dict.fromkeys(Verdict, 0)
    judged = context.gpu_code.judged(device)
    for library, judgement in sorted(judged, key=lambda pair: _rank(context, pair[0])):
        verdict, where = judgement.verdict, context.place(library.path)
        if verdict is Verdict.NOT_APPLICABLE and _is_essential(library):
            verdict = Verdict.MISSING
        counts[verdict] += 1
        if verdict is Verdict.MISSING and not has_refused(library, device):
            yield failed(
                judgement.why,
                where=where,
                expected=f"code for {device}",
                cure=_cure(library, device),
            )
        elif verdict is Verdict.UNKNOWN:
            yield warning(
                judgement.why,
                where=where,
                expected=f"code for {device}",
                cure="name the CUDA release of the device's driver with --cuda, or --jetpack",
            )
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    yield ok(f"{device}: {told or 'nothing that can be judged'}")


def _rank(context: Context, library: Library) -> int:
    """Whose library it is: a report shows only the first few findings."""
    folder = library.path.relative_to(context.site_packages).parts[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


def _is_essential(library: Library) -> bool:
    runs = any(library.count(role) for role in ("host", "embedded"))
    return runs and library.path.name.startswith(ESSENTIAL)


def _is_vllms(library: Library) -> bool:
    return library.path.parent.name == "vllm" and library.path.name.startswith(VLLMS)


def _cure(library: Library, device: Device) -> str:
    if "nvidia" in library.path.parts:
        return "take NVIDIA's libraries of the device's own CUDA or JetPack, not these wheels"
    return f"build it with TORCH_CUDA_ARCH_LIST={arch_list([device.capability])}, or find a wheel that was"
