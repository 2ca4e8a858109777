"""PTX is no newer than what the device's driver compiles.

Where a library has no kernels for a device, the driver compiles its PTX at first start, if it knows
that version of the language: each CUDA release brings a newer one. A driver that is too old says
"the provided PTX was compiled with an unsupported toolchain". CUDA's minor-version compatibility
does not cover this.

Seen in vllm#31700, lmdeploy#759; the rule is NVIDIA's, in the CUDA C++ Programming Guide.
"""

from collections.abc import Iterator

from vllm_nix.gpu.compat import Verdict
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.gpu_code import has_refused


@check("ptx", "The device's driver is new enough for the PTX that it must compile", slow=True)
def ptx(context: Context) -> Iterator[Finding]:
    devices = [device for device in context.gpus() if device.cuda]
    if not devices:
        raise SkipError("the driver's CUDA release is not known; name it with --cuda or --jetpack")
    for device in devices:
        compiled = 0
        for library, judgement in context.gpu_code.judged(device):
            compiled += Verdict.JIT in judgement.counts
            if judgement.verdict is Verdict.MISSING and has_refused(library, device):
                yield failed(
                    judgement.why,
                    where=context.place(library.path),
                    expected=f"PTX {device.ptx_isa} or older",
                    cure="update the driver (JetPack), or build with a toolkit no newer than it",
                )
        yield ok(f"{device} compiles up to PTX {device.ptx_isa}; {compiled} libraries need it to")
