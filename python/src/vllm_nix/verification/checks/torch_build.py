"""torch is the build that the target asks for, not another that took its place.

pip replaces torch when another package asks for a version, by the first build that its index has:
for the CPU, for another CUDA, for another system. The version with its label, and the CUDA release
that it was built with, are compared with the target and with torch's own metadata; and where a GPU
was asked for, torch must have been built for one. A registry's wheel may be built with an older
CUDA of the target's major release, which the target's driver runs (CUDA's minor version
compatibility).

Seen in vllm#15169, vllm#7575, jetson-containers#1514, vllm#2021.
"""

from collections.abc import Iterator

from vllm_nix.gpu.device import release
from vllm_nix.verification.check import Context, Finding, check, failed, ok


@check("torch-build", "torch is the build that the target asks for", steps=(("torch-build",),))
def torch_build(context: Context) -> Iterator[Finding]:
    build = context.ask("torch-build")
    version, cuda = build["version"], build["cuda"]
    for wanted, source in _versions(context):
        if not _same(version, wanted):
            yield failed(
                f"torch {version}",
                expected=f"torch {wanted} ({source})",
                cure=f"install torch {wanted} again: another build took its place",
            )
    toolkit = context.parameter("cuda", "toolkit")
    is_wheel = context.parameter("torch", "from") == "wheel"
    if context.parameters and cuda != toolkit and not (is_wheel and _older(cuda, toolkit)):
        yield failed(
            f"built for {_device(cuda)}",
            expected=f"built for {_device(toolkit)}",
            cure="install the target's own torch wheel; pip prefers its index's, so name a version",
        )
    if context.is_asked and not toolkit and cuda is None:
        yield failed(
            "built for the CPU",
            expected=f"built for CUDA, for {context.devices[0]}",
            cure="install a torch for CUDA; the registry's for aarch64 is one from 2.11 on",
        )
    abi = 1 if build["cxx11-abi"] else 0
    yield ok(f"torch {version}, {_device(cuda)}, C++11 ABI {abi}")


def _versions(context: Context) -> Iterator[tuple[str, str]]:
    if wanted := context.parameter("torch", "version"):
        number = context.parameter("torch", "build-number") or 1
        yield f"{wanted}.post{number}" if number > 1 else wanted, "the target's"
    for distribution in context.distributions:
        if distribution.name == "torch":
            yield distribution.version, "its metadata"


def _same(version: str, wanted: str) -> bool:
    """Equal, or with a label that `wanted` leaves open: the registry's wheels add it inside."""
    return version == wanted or ("+" not in wanted and version.partition("+")[0] == wanted)


def _older(cuda: str | None, toolkit: str | None) -> bool:
    """Whether both are of one major release, and the first is the older one."""
    if cuda is None or toolkit is None:
        return False
    return release(cuda)[0] == release(toolkit)[0] and release(cuda) < release(toolkit)


def _device(cuda: str | None) -> str:
    return f"CUDA {cuda}" if cuda else "the CPU"
