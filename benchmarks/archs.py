"""Reading the GPU code of PyTorch's largest library, beside NVIDIA's cuobjdump.

By itself: python -m benchmarks.archs [LIBTORCH_CUDA CUOBJDUMP]; both are downloaded if not given.
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import Command, Row, compare, seconds
from benchmarks.wheels import Wheel, unpack

TORCH = Wheel(
    "torch==2.11.0",
    "x86_64",
    "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
)
CUOBJDUMP = Wheel(
    "nvidia-cuda-cuobjdump==13.5.37",
    "x86_64",
    "38780fee50863252a0b8926357faa91615ca1c8346490563f33a06100cd73f58",
)

OURS = (Path(sys.executable).with_name("vllm-nix"), "archs")


def rows(library: Path | None = None, cuobjdump: Path | None = None) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = library or unpack(TORCH, folder, "libtorch_cuda.so")[0]
        tool = cuobjdump or unpack(CUOBJDUMP, folder, "cuobjdump")[0]
        what = f"`archs {library.name}` ({library.stat().st_size / 1e6:.0f} MB)"
        # Its lists have neither the `f` of sm_100f nor the PTX ISA; what it prints by default has.
        for options in (("-all",), ("--list-elf", "--list-ptx")):
            yield compare(
                what,
                partial(seconds, [*OURS, library]),
                f"`cuobjdump {'` and `'.join(options)}`",
                partial(in_all, [[tool, option, library] for option in options]),
                runs=5,
            )


def in_all(commands: Iterable[Command]) -> float:
    return sum(map(seconds, commands))


if __name__ == "__main__":
    for row in rows(*map(Path, sys.argv[1:])):
        print(row)
