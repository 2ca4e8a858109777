"""Says what the NVIDIA driver says, or why there is none. Runs in the environment, without torch.

CUDA driver API, as its header cuda.h numbers attributes: 18 integrated, 75 and 76 the capability.
"""

from __future__ import annotations  # Python 3.8 runs it, as of vLLM 0.6

import ctypes
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_DEVICES = 1024  # of a machine; MIG has seven of each GPU


def ask() -> dict[str, Any]:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        # Not what "cannot open" says of a library that the driver's own needs.
        missing = str(error).startswith("libcuda.so.1: cannot open")
        return {"absent": True} if missing else {"broken": str(error)}
    said = {"library": path_of("libcuda.so"), "cuInit": cuda.cuInit(0), "nvmlInit": nvml()}
    with suppress(OSError):
        ctypes.CDLL("libnvidia-ptxjitcompiler.so.1")  # as libcuda does, when it first meets PTX
    said["parts"] = [path_of(f"libnvidia-{name}.so") for name in ("ml", "ptxjitcompiler")]
    if said["cuInit"]:
        return said
    version = number(cuda.cuDriverGetVersion)
    count = number(cuda.cuDeviceGetCount)
    if not 0 <= count <= MOST_DEVICES:
        raise RuntimeError(f"cuDeviceGetCount gives {count} devices")
    devices = [device(cuda, index) for index in range(count)]
    return {**said, "version": f"{version // 1000}.{version % 1000 // 10}", "devices": devices}


def nvml() -> Any:
    """What NVML's start gives, 0 if it starts; None if there is no such library."""
    try:
        return ctypes.CDLL("libnvidia-ml.so.1").nvmlInit_v2()
    except (OSError, AttributeError):
        return None


def path_of(name: str) -> str:
    """The file that was loaded under a name."""
    text = Path("/proc/self/maps").read_text(encoding="utf-8", errors="backslashreplace")
    paths = (line.split(None, 5)[-1] for line in text.splitlines())
    return next((path for path in paths if Path(path).name.startswith(name)), "")


def device(cuda: Any, index: int) -> dict[str, Any]:
    handle = number(cuda.cuDeviceGet, index)
    name = ctypes.create_string_buffer(256)
    call(cuda.cuDeviceGetName, name, len(name), handle)
    memory = ctypes.c_size_t()
    call(cuda.cuDeviceTotalMem_v2, ctypes.byref(memory), handle)
    major, minor, integrated = (
        number(cuda.cuDeviceGetAttribute, attribute, handle) for attribute in (75, 76, 18)
    )
    return {
        "name": name.value.decode("utf-8", "replace"),
        "capability": f"{major}.{minor}",
        "integrated": bool(integrated),
        "memory": memory.value,
    }


def number(function: Any, *arguments: Any) -> int:
    value = ctypes.c_int()
    call(function, ctypes.byref(value), *arguments)
    return value.value


def call(function: Any, *arguments: Any) -> None:
    if status := function(*arguments):
        raise RuntimeError(f"{function.__name__} gives error {status}")


def main() -> None:
    try:
        answer = ask()
    except (AttributeError, RuntimeError) as error:
        answer = {"broken": str(error)}
    os.write(int(sys.argv[1]), json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
