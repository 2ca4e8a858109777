"""vLLM has a library of attention kernels, whole and with code for the device.

vLLM needs one of flash-attention (its own, or a package before 0.6), xformers or FlashInfer, and
falls from one to the next without a word. xformers without its compiled part imports and fails at
the first request; FlashInfer compiles its kernels when they are used. Which libraries lack code for
the device is `gpu-code`'s to say; here it counts whether any is left.

Seen in xformers#944, mistral-inference#80, vllm#19328; flash-attention#986 and #1146.
"""

from collections.abc import Iterator
from pathlib import Path

from vllm_nix.gpu.compat import Verdict
from vllm_nix.gpu.device import Device
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning

# By distribution: where its kernels are. vLLM's own flash-attention is inside vLLM since 0.6.2.
KERNELS = {
    "vllm": ("vllm/vllm_flash_attn/*.so", "vllm/vllm_flash_attn_c*.so"),
    "vllm-flash-attn": ("vllm_flash_attn_2_cuda*.so", "vllm_flash_attn/*.so"),
    "flash-attn": ("flash_attn_2_cuda*.so",),
    "xformers": ("xformers/_C*.so", "xformers/_C_flashattention*.so"),
}
COMPILED_ON_USE = ("flashinfer-python",)


@check("attention", "vLLM has attention kernels that the device runs", slow=True)
def attention(context: Context) -> Iterator[Finding]:
    devices = context.gpus()
    if context.installed("vllm") is None:
        raise SkipError("vLLM for CUDA is not installed")
    files = _files(context)
    if "xformers" in files and not files["xformers"]:
        yield warning(
            "xformers has no compiled kernels: it imports, and fails when it is used",
            where="xformers",
            cure="pip uninstall xformers, or build it with CUDA for this device",
        )
    late = [name for name in COMPILED_ON_USE if context.installed(name)]
    present = [name for name, found in files.items() if found]
    if not present and not late:
        yield failed(
            "no attention kernels: neither flash-attention, xformers nor FlashInfer",
            expected="at least one of them",
            cure="build vLLM with its flash-attention, or install flash-attn for this torch",
        )
        return
    for device in devices:
        usable = libraries(context, device)
        if not usable and not late:
            raise SkipError(f"{', '.join(present)}: no code for {device}: see `gpu-code`, `ptx`")
        rest = [name for name in present if name not in usable]
        told = f"{device} runs the kernels of {', '.join(usable + late)}"
        yield ok(told + (f", not of {', '.join(rest)}" if rest else ""))


def libraries(context: Context, device: Device) -> list[str]:
    """The distributions whose attention kernels the device runs."""
    return [name for name, files in _files(context).items() if _runs(context, device, files)]


def _files(context: Context) -> dict[str, list[Path]]:
    """By distribution, if it is installed: its libraries of kernels."""
    return {
        name: [file for pattern in patterns for file in context.site_packages.glob(pattern)]
        for name, patterns in KERNELS.items()
        if context.installed(name)
    }


def _runs(context: Context, device: Device, files: list[Path]) -> bool:
    """Whether any of the libraries has nothing that the device would miss."""
    judged = {library.path: found for library, found in context.gpu_code.judged(device)}
    return any(
        file in judged and (judged[file].verdict.runs or judged[file].verdict is Verdict.UNKNOWN)
        for file in files
    )
