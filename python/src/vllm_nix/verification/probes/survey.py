"""Takes the steps of argv[2], a line of answer for each, and goes on after one that raises.

Runs in the environment, so: the standard library, and what a step is there to try.
"""

from __future__ import annotations  # Python 3.8 runs it, as of vLLM 0.6

import importlib
import json
import logging
import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

OTHERS = {"hip": "ROCm", "xpu": "XPU"}  # what torch.version has for GPUs of other makers
complaints: list[str] = []  # of vLLM, about imports
logged: list[BaseException] = []  # by vLLM in a step, which then raises another that says less


def version(name: str) -> dict[str, Any]:
    module = importlib.import_module(name)
    return {"version": str(getattr(module, "__version__", ""))}


def torch_build() -> dict[str, Any]:
    torch = importlib.import_module("torch")
    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "others": [name for key, name in OTHERS.items() if getattr(torch.version, key, None)],
        "cxx11-abi": bool(torch._C._GLIBCXX_USE_CXX11_ABI),
        "config": torch.__config__.show(),
    }


def torch_flags() -> dict[str, Any]:
    """The architectures and switches that torch was compiled with; no GPU is needed to say."""
    torch = importlib.import_module("torch")
    flags = getattr(torch._C, "_cuda_getArchFlags", lambda: "")
    return {
        "cuda": torch.version.cuda,
        "archs": flags() or "",
        "config": torch.__config__.show(),
    }


def nccl() -> dict[str, Any]:
    """NCCL's version as it says itself, and the file that was loaded, "" if it is in torch's."""
    distributed = importlib.import_module("torch.distributed")
    if not (distributed.is_available() and distributed.is_nccl_available()):
        return {"available": False}
    version = importlib.import_module("torch.cuda.nccl").version()
    files = [file for file in maps()["files"] if Path(file).name.startswith("libnccl.so")]
    return {"available": True, "version": list(version[:3]), "file": files[0] if files else ""}


def backends() -> dict[str, Any]:
    distributed = importlib.import_module("torch.distributed")
    if not distributed.is_available():
        return {"available": False}
    there = {
        "gloo": distributed.is_gloo_available,
        "mpi": distributed.is_mpi_available,
        "nccl": distributed.is_nccl_available,
    }
    return {"available": True, "backends": [name for name, ask in there.items() if ask()]}


def all_reduce(backend: str) -> dict[str, Any]:
    torch = importlib.import_module("torch")
    distributed = importlib.import_module("torch.distributed")
    with tempfile.TemporaryDirectory() as folder:
        store = distributed.FileStore(str(Path(folder, "store")), 1)
        distributed.init_process_group(backend, store=store, rank=0, world_size=1)
        values = torch.arange(4.0)
        distributed.all_reduce(values)
        distributed.destroy_process_group()
    return {"values": values.tolist()}


def generate(model: str, text: str, count: str) -> dict[str, Any]:
    """Generates `count` tokens after `text` from the checkpoint `model`, greedily, twice."""
    vllm = importlib.import_module("vllm")
    cuda = getattr(importlib.import_module("torch"), "cuda", None)
    options: dict[str, Any] = {}
    if cuda and cuda.is_available():
        # Others may use the device as well; the default wants nine tenths of its memory to be free.
        options["gpu_memory_utilization"] = 0.3
        # The checkpoint is in bfloat16, which vLLM refuses on devices before Ampere.
        options["dtype"] = "auto" if cuda.get_device_capability() >= (8, 0) else "float16"
    llm = vllm.LLM(model=model, enforce_eager=True, max_model_len=64, seed=0, **options)
    greedy = vllm.SamplingParams(temperature=0.0, max_tokens=int(count), ignore_eos=True)
    outputs = [llm.generate([text], greedy)[0] for _ in range(2)]
    return {
        "prompt": list(outputs[0].prompt_token_ids),
        "runs": [list(output.outputs[0].token_ids) for output in outputs],
    }


def maps(*modules: str) -> dict[str, Any]:
    """The files that a process which has imported `modules` maps (proc(5))."""
    for module in modules:
        importlib.import_module(module)
    text = Path("/proc/self/maps").read_text(encoding="utf-8", errors="backslashreplace")
    rows = [line.split(None, 5) for line in text.splitlines()]
    return {"files": sorted({row[5] for row in rows if len(row) == 6 and row[5][0] == "/"})}


def kernels() -> dict[str, Any]:
    """What vLLM says of its compiled parts, whose absence it only warns of."""
    try:
        importlib.import_module("vllm._custom_ops")
    except ModuleNotFoundError as error:
        if error.name != "vllm._custom_ops":
            raise
    return {"complaints": complaints[:20]}


def bridge() -> dict[str, Any]:
    """Whether torch and NumPy hand each other their arrays; they import without that."""
    torch, numpy = importlib.import_module("torch"), importlib.import_module("numpy")
    if not (hasattr(torch, "from_numpy") and hasattr(numpy, "arange")):
        return {"tried": False, "numpy": str(getattr(numpy, "__version__", ""))}
    total = torch.from_numpy(numpy.arange(4.0)).sum().item()
    return {"tried": True, "sum": total, "back": torch.ones(2).numpy().tolist()}


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "import": version,
    "torch-build": torch_build,
    "torch-flags": torch_flags,
    "nccl": nccl,
    "backends": backends,
    "all-reduce": all_reduce,
    "generate": generate,
    "kernels": kernels,
    "bridge": bridge,
    "maps": maps,
}


def answer(**line: Any) -> None:
    data = json.dumps(line).encode() + b"\n"
    while data:
        data = data[os.write(int(sys.argv[1]), data) :]


def listen() -> None:
    """Keeps vLLM's warnings of imports that failed, and the errors that it logs, whoever is to see them."""
    make = logging.getLogRecordFactory()

    def record(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = make(*arguments, **more)
        if record.name.partition(".")[0] == "vllm" and record.levelno >= logging.WARNING:
            with suppress(Exception):
                if "ailed to import" in (text := record.getMessage()):
                    complaints.append(text[:2000])
                if record.levelno >= logging.ERROR and record.exc_info and record.exc_info[1]:
                    logged.append(record.exc_info[1])
        return record

    logging.setLogRecordFactory(record)


def main() -> None:
    describe = runpy.run_path(str(Path(__file__).with_name("errors.py")))["describe"]
    listen()
    for step in json.loads(sys.argv[2]):
        name, *arguments = step
        logged.clear()
        try:
            answer(step=step, value=STEPS[name](*arguments))
        except BaseException as error:  # noqa: BLE001 -- a module may even raise SystemExit
            last = describe(error)
            causes = [text for text in map(describe, logged[:3]) if text not in last]
            answer(step=step, error="; then ".join(dict.fromkeys([*causes, last])))


if __name__ == "__main__":  # vLLM may start processes that import this file
    main()
