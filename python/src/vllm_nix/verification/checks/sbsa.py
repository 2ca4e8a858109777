"""On Jetson, CUDA's libraries are those of its own system (L4T), or SBSA's where it takes them.

NVIDIA builds CUDA for aarch64 twice: for servers (SBSA) and, until JetPack 7.2, for Jetson (L4T).
The wheels of the public registry are SBSA's. On an older JetPack they load, and fail when they are
called ("named symbol not found", wrong results of allocation), even if their kernels suit the
device. What is SBSA's is told by its owner, an `nvidia-*` wheel, or by a run path into
`sbsa-linux`.

Seen in bitsandbytes#1930 and #1941, jetson-containers#1514; the rule is in NixOS/nixpkgs#530931.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from vllm_nix.binaries.elf import Dynamic
from vllm_nix.binaries.files import AARCH64
from vllm_nix.gpu.device import jetpack_release
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.owners import owners


@check("sbsa", "On Jetson, CUDA's libraries are those of its JetPack")
def sbsa(context: Context) -> Iterator[Finding]:
    if not any(device.capability.jetson for device in context.gpus()):
        raise SkipError("not a Jetson")
    if context.jetpack is None:
        raise SkipError("the JetPack release is not known; name it with --jetpack")
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
            cure="take torch and its libraries from a build for Jetson, not from the registry",
        )
    yield ok(f"none of {len(libraries)} libraries is SBSA's, as JetPack {release.release} has it")


def _libraries(context: Context) -> Iterator[tuple[Path, Dynamic]]:
    for file, image in context.elf_files.found().images.items():
        if image.machine == AARCH64 and image.dynamic:
            yield file, image.dynamic


def _foreign(context: Context, libraries: dict[Path, Dynamic]) -> dict[str, tuple[int, str]]:
    """By distribution: how many of its libraries are SBSA's, and how that shows."""
    owned, _ = owners(context)
    counts: defaultdict[str, int] = defaultdict(int)
    evidence: dict[str, str] = {}
    for file, dynamic in libraries.items():
        claims = owned.get(file)
        name = claims[0].distribution.name if claims else context.place(file)
        paths = [*dynamic.rpath, *dynamic.runpath]
        into = next((path for path in paths if "sbsa-linux" in path), "")
        if name.startswith("nvidia-") or into:
            counts[name] += 1
            evidence.setdefault(name, f"run path {into}" if into else "a wheel of NVIDIA's")
    return {name: (count, evidence[name]) for name, count in counts.items()}
