"""On Jetson, vLLM does not need NVML to find its platform.

vLLM 0.5.5 to 0.6.4.post1 tell a CUDA platform by a successful `nvmlInit`. Jetson's driver has no
NVML for its GPU, so these versions see no device there ("Failed to infer device type", "NVML Shared
Library Not Found"). Only the version is looked at: nothing is run.

Seen in vllm#9728; mended by vllm#9735, in 0.6.5.
"""

from collections.abc import Iterator

from packaging.version import InvalidVersion, Version

from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok

FIRST, LAST = Version("0.5.5"), Version("0.6.4.post1")


@check("nvml", "On Jetson, vLLM finds its platform without NVML")
def nvml(context: Context) -> Iterator[Finding]:
    jetsons = [device for device in context.gpus() if device.capability.jetson]
    vllm = context.installed("vllm")
    if not jetsons:
        raise SkipError("not a Jetson: its driver has NVML")
    if vllm is None:
        raise SkipError("vLLM is not installed")
    try:
        version = Version(Version(vllm.version).public)
    except InvalidVersion:
        raise SkipError(f"{vllm.version!r} is no version: see `wheel-set`") from None
    if FIRST <= version <= LAST:
        yield failed(
            f"vLLM {vllm.version} asks NVML for its platform, and {jetsons[0]} has none",
            expected=f"older than {FIRST}, or newer than {LAST}",
            cure="use vLLM 0.6.5 or newer, or backport its change of platforms/__init__.py",
        )
    else:
        yield ok(f"vLLM {vllm.version} asks the CUDA runtime")
