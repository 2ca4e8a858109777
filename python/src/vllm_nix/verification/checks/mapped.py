"""What a running vLLM maps."""

from collections.abc import Iterator
from pathlib import Path

from vllm_nix.paths import real
from vllm_nix.store import store_dir
from vllm_nix.verification import cann
from vllm_nix.verification.check import Context, Finding, check, failed, ok

# The last of them has vLLM load its kernels, which importing vLLM alone does not.
MAPS = ("maps", "torch", "vllm", "vllm._custom_ops")


@check("host-libraries", "A running vLLM maps nothing of the host but its driver", steps=(MAPS,))
def host_libraries(context: Context) -> Iterator[Finding]:
    """A running environment maps files of the store alone, and the host's driver.

    After vLLM and its kernels are loaded, the files that the process maps are read from proc(5). One of
    the host is a leak: it is another on the next machine. The driver's libraries, which the target
    names, must come from the host. Only for a Nix build.
    """
    manifest = context.wheels()
    files = context.ask(*MAPS)["files"]
    inside = _inside(context)
    drivers = {_stem(name) for name in manifest.driver_libraries}
    for file in files:
        if not file.startswith(inside) and _stem(Path(file).name) not in drivers:
            yield failed(
                f"{file} is mapped",
                where="a process that loaded torch, vllm and its kernels",
                expected="files of the store, and driver libraries",
                fix=f"let the wheel that loads {Path(file).name} find it in the base",
            )
    yield ok(f"{len(files)} mapped files")


def _inside(context: Context) -> tuple[str, ...]:
    root, scratch = context.root, context.environment.scratch
    # CANN comes in folders; what a place links to lies beside it.
    host = [real(place.parent) for place in cann.places(context.parameters)]
    folders = (store_dir(), root, real(root), scratch, real(scratch), *host, "/dev", "/proc")
    return (*(f"{folder}/" for folder in folders), "/memfd:", "/SYSV")


def _stem(name: str) -> str:
    """The part before the version: a driver's file is libcuda.so.560.35, its soname libcuda.so.1"""
    return name.partition(".so")[0]
