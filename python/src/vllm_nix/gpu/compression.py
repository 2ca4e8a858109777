"""Compresses cubins that a library has as they are: flash-attention 2, for one, becomes an eighth.

nvcc does it where it is asked to (`--compress-mode`), and the CUDA driver unpacks a cubin when it loads it. Drivers
read zstd from CUDA 12.4 on (its compiler's manual). Cubins of the format 1.8 are made by CUDA 13, and for 10.0 and
newer by 12.8, whose drivers are all newer; older ones stay as they are.
"""

import shutil
import subprocess

from vllm_nix.errors import Unavailable
from vllm_nix.gpu import fatbin
from vllm_nix.gpu.fatbin import Entry

# 3 % larger than by -19, in a sixteenth of the time.
_COMPRESS = ("-9", "--no-check", "--single-thread")
_FORMAT = (1, 8)
_LEAST = 1 << 16  # bytes: a process for each


def program() -> str | None:
    """What compresses, if this machine has it."""
    return shutil.which("zstd")


def pays(entry: Entry) -> bool:
    """Whether an entry is to be compressed."""
    is_open = entry.kind == "cubin" and not entry.compression and entry.version >= _FORMAT
    return is_open and entry.size >= _LEAST and program() is not None


def compress(entry: bytes) -> bytes:
    """An entry's bytes, header and all, compressed; as they are where that is not smaller or does not lead back."""
    code = fatbin.payload(entry)
    new = fatbin.compressed(entry, _zstd(code, *_COMPRESS, f"--stream-size={len(code)}"))
    return new if len(new) < len(entry) and decompress(new) == entry else entry


def decompress(entry: bytes) -> bytes:
    """The entry that was compressed."""
    return fatbin.uncompressed(entry, _zstd(fatbin.payload(entry), "--decompress"))


def _zstd(data: bytes, *options: str) -> bytes:
    command = [program() or "zstd", "--quiet", "--stdout", *options]
    try:
        done = subprocess.run(command, input=data, capture_output=True, check=True)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise Unavailable(f"{command[0]}: {said or error}") from None
    return done.stdout
