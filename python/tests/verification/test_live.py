"""Checks that use a GPU, on a machine that has none: its driver's library and its torch are fakes.

What is tested is everything but the device: asking, judging, and what becomes of errors, crashes,
hangs and memory that is used up. Skipped without a C compiler, as the driver is compiled.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from verification.cuda import carrier, cuda_torch
from verification.environments import Sample, faults
from vllm_nix.errors import InputError
from vllm_nix.verification import Report, verify
from vllm_nix.verification.check import Context
from vllm_nix.verification.environment import Environment
from vllm_nix.verification.machine import BrokenDriver, Driver, Gpu, ask_driver

# The driver API's functions that the probe calls; status 0 is success.
DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Orin", size); return 0; }
int cuDeviceTotalMem_v2(unsigned long *bytes, int device) { *bytes = 64ul << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? MAJOR : attribute == 76 ? 7 : attribute == 18;
    return 0;
}
"""
TORCH = """
__version__ = "2.5.1+cu126"
class version: cuda = "12.6"
class _C:
    _GLIBCXX_USE_CXX11_ABI = False
    _cuda_getArchFlags = staticmethod(lambda: "sm_87")
class Tensor(list):
    def sum(self): return Tensor([sum(self)])
    def min(self): return Tensor([min(self)])
    def max(self): return Tensor([max(self)])
    def abs(self): return Tensor(map(abs, self))
    def item(self): return self[0]
    def __sub__(self, other): return Tensor(a - b for a, b in zip(self, other))
float32 = None
from torch import cuda
def arange(count, **where): return Tensor(range(count))
def full(shape, value, **where): return Tensor([value] * shape[0])
def zeros_like(other): return Tensor([0.0] * len(other))
"""
CUDA = """
def is_available(): return True
def device_count(): return COUNT
def get_device_capability(index=0): return 8, 7
def get_device_name(index): return "Orin"
def set_device(index): pass
def synchronize(): pass
"""
SPAWN = """
def spawn(function, args, nprocs):
    for rank in range(nprocs): function(rank, *args)
"""
REDUCE = """
def FileStore(path, count): return count
def init_process_group(backend, *, store, rank, world_size): global count; count = world_size
def all_reduce(value): value[:] = [count * (count + 1) / 2] * len(value)
def destroy_process_group(): pass
"""
TRITON = """
class jit:
    def __init__(self, function): self.constants = function.__annotations__
    def __getitem__(self, grid): return self.run
    def run(self, left, right, out, count, BLOCK): out[:] = [a + b for a, b in zip(left, right)]
"""
# What the probe calls before it comes to the library that is tried; nothing of it computes.
ATTENTION = """
class Any:
    shape = 2, 128, 4, 64
    def __getattr__(self, name): return lambda *a, **k: self
    def __mul__(self, other): return self
    def __matmul__(self, other): return self
    __truediv__ = __sub__ = __matmul__
    def item(self): return 0.0
def manual_seed(seed): pass
def randn(*shape, **where): return Any()
ones = arange = randn
float16 = int32 = bool = None
from types import SimpleNamespace as Box
attend = lambda *a, **k: Any()
nn = Box(functional=Box(scaled_dot_product_attention=attend))
"""
LIVE = ("live-device", "live-nccl", "live-triton")


def compile_driver(folder: Path, count: int = 1, init: int = 0, major: int = 8) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    (folder / "driver.c").write_text(DRIVER)
    library = folder / "libcuda.so.1"
    options = [f"-DCOUNT={count}", f"-DINIT={init}", f"-DMAJOR={major}", "-w", "-shared", "-fPIC"]
    subprocess.run(["gcc", *options, "-o", library, folder / "driver.c"], check=True)
    return library


@pytest.fixture
def live(gpu_sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sample:
    """An environment on a machine with one Orin."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(compile_driver(tmp_path).parent))
    monkeypatch.setattr("vllm_nix.verification.checks.live.ENOUGH", 0)  # of this machine's own
    fake(gpu_sample)
    gpu_sample.install(
        "triton", "3.1.0", {"triton/__init__.py": TRITON, "triton/language.py": "constexpr = int"}
    )
    return gpu_sample


def fake(sample: Sample, count: int = 1, torch: str = TORCH, reduce: str = REDUCE) -> None:
    cuda = CUDA.replace("COUNT", str(count))
    files = {"torch/cuda/__init__.py": cuda, "torch/multiprocessing.py": SPAWN}
    cuda_torch(sample, torch, reduce, files)


def reported(report: Report) -> Mapping[str, str]:
    return {result.id: result.reason or result.findings[-1].found for result in report.results}


def test_good(live: Sample) -> None:
    report = verify(live.root, only=[*LIVE, "gpu-code", "memory"])
    assert faults(report) == {}
    assert report.to_json()["devices"] == ["Orin (8.7) with CUDA 12.6"]
    assert reported(report) == {
        "gpu-code": "Orin (8.7) with CUDA 12.6: 1 jit, 3 native, 1 dead",
        "memory": reported(report)["memory"],
        "live-device": "Orin (8.7); driver for CUDA 12.6, torch for 12.6",
        "live-nccl": "world size 1",
        "live-triton": "two vectors added",
    }
    assert reported(report)["memory"].startswith("Orin (64 GiB) shares the host's memory")


def test_two_devices(live: Sample, tmp_path: Path) -> None:
    compile_driver(tmp_path, count=2)
    fake(live, count=2)
    report = verify(live.root, only=LIVE)
    assert faults(report) == {}
    assert reported(report)["live-nccl"] == "world size 2"


OOM = "def arange(count, **where): raise type('OutOfMemoryError', (RuntimeError,), {})('CUDA out of memory. Tried')"
HANG = "def arange(count, **where):\n    import time; time.sleep(600)"
CRASH = "def arange(count, **where):\n    import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
NO_IMAGE = (
    "def arange(count, **where): raise RuntimeError('CUDA error: no kernel image is available')"
)
WRONG = "def arange(count, **where): return Tensor([3])"


@pytest.mark.parametrize(
    ("code", "text", "fix"),
    [
        (OOM, "OutOfMemoryError: CUDA out of memory", "other programs hold"),
        (HANG, "no answer within 3 s", "it hangs"),
        (CRASH, "killed by SIGSEGV", "compare the driver's CUDA (12.6)"),
        (NO_IMAGE, "no kernel image is available", "see `gpu-code`"),
        (WRONG, "Orin: the sum is 3 (expected 499500)", "dmesg"),
    ],
    ids=["out of memory", "hang", "crash", "no kernel image", "wrong sum"],
)
def test_device_that_fails(live: Sample, code: str, text: str, fix: str) -> None:
    fake(live, torch=TORCH + code)
    report = verify(live.root, only=["live-device"], limit=3)
    assert text in faults(report)["live-device"]
    assert fix in report.results[0].findings[0].fix


def test_torch_sees_another_number_of_devices(live: Sample) -> None:
    fake(live, count=0)
    found = faults(verify(live.root, only=["live-device"]))
    assert "torch sees no device (expected the driver's: 8.7)" in found["live-device"]


def test_wrong_all_reduce(live: Sample) -> None:
    fake(live, reduce=REDUCE + "def all_reduce(value): value[0] = 7.0")
    found = faults(verify(live.root, only=LIVE))
    assert list(found) == ["live-nccl"]
    assert "all-reduce gave [[1.0, 7.0]] (expected 1.0 on each of 1)" in found["live-nccl"]


@pytest.mark.parametrize(("size", "said"), [(64 << 20, "64 MiB of shared memory"), (1 << 30, "")])
def test_shared_memory_of_a_container(
    live: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, said: str
) -> None:
    module = sys.modules["vllm_nix.verification.checks.live"]
    monkeypatch.setattr(module, "ENOUGH", 1 << 30)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: SimpleNamespace(total=size))
    assert faults(verify(live.root, only=["live-nccl"])) == {}, "one device needs none"
    compile_driver(tmp_path, count=2)
    fake(live, count=2)
    report = verify(live.root, only=["live-nccl"])
    assert said in faults(report).get("live-nccl", "")
    assert report.exit_code == 0


def test_a_hang_of_nccl_has_its_own_fix(live: Sample) -> None:
    """vllm#9920, nccl#2079: what dmesg says is of no use there."""
    fake(live, reduce=REDUCE + "def all_reduce(value):\n    import time; time.sleep(600)")
    report = verify(live.root, only=["live-nccl"], limit=2)
    assert "no answer within 2 s" in faults(report)["live-nccl"]
    assert "NCCL_P2P_DISABLE=1" in report.results[0].findings[0].fix


def test_triton_without_a_compiler(live: Sample) -> None:
    code = TRITON + "    def run(self, *a, **k): raise RuntimeError('Failed to find C compiler')\n"
    live.install(
        "triton", "3.1.0", {"triton/__init__.py": code, "triton/language.py": "constexpr = int"}
    )
    report = verify(live.root, only=LIVE)
    assert "Failed to find C compiler" in faults(report)["live-triton"]


@pytest.mark.parametrize(("error", "good"), [(0.0005, True), (0.5, False), (float("nan"), False)])
def test_attention_bound(
    live: Sample, monkeypatch: pytest.MonkeyPatch, error: float, good: bool
) -> None:
    """The kernels need a torch that computes; here it is the judgement alone."""
    asked: list[str] = []

    def attempt(context: Context, step: str, library: str) -> dict[str, float]:
        asked.append(library)
        return {"error": error}

    module = sys.modules["vllm_nix.verification.checks.live"]
    monkeypatch.setattr(module, "attempt", attempt)
    assert (faults(verify(live.root, only=["live-attention"])) == {}) is good
    assert asked == ["torch", "vllm"]


def test_attention_that_crashes_hides_no_other(live: Sample) -> None:
    """A library without code for the device is not tried: `gpu-code` names it."""
    live.install("xformers", "1", {"xformers/_C.so": carrier([("cubin", 80)])})
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    live.install("flash-attn", "1", {"flash_attn_2_cuda.so": carrier([("cubin", 87)])})
    (live.site / "flash_attn.py").write_text(code)
    fake(live, torch=TORCH + ATTENTION)
    found = faults(verify(live.root, only=["live-attention"]))["live-attention"].splitlines()
    assert [line.partition(" by ")[2].partition(",")[0] for line in found] == ["vllm", "flash-attn"]
    assert "has no attribute 'flash_attn_varlen_func'" in found[0]
    assert "killed by SIGSEGV" in found[1]


def test_a_device_newer_than_the_tables(live: Sample, tmp_path: Path) -> None:
    compile_driver(tmp_path, major=13)
    report = verify(live.root, only=["gpu-code"])
    assert report.to_json()["devices"] == ["Orin (13.7) with CUDA 12.6"]
    assert "code for Orin (13.7)" in faults(report)["gpu-code"]
    with pytest.raises(InputError, match="unknown CUDA release 'soon'"):
        verify(live.root, cuda="soon")


def test_another_device_than_the_targets(live: Sample) -> None:
    live.declare(parameters={"torch": {}, "cuda": {"capabilities": ["9.0"], "toolkit": "12.6"}})
    found = faults(verify(live.root, only=["live-device"]))
    assert found["live-device"].startswith("warning : this machine has 8.7 (expected one of")
    live.declare(
        parameters={
            "torch": {"from": "wheel"},
            "cuda": {"capabilities": ["9.0"], "toolkit": "12.6"},
        }
    )
    report = verify(live.root, only=["live-device"])
    assert faults(report) == {}, "a registry's wheels: gpu-code says whether they fit"


def test_a_build_for_the_cpu_on_a_machine_with_a_gpu(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(compile_driver(tmp_path).parent))
    report = verify(sample.root)
    assert faults(report) == {}
    assert reported(report)["live-device"] == reported(report)["attention"] == "a vLLM for the CPU"


def test_driver_that_lacks_a_library_of_its_own(live: Sample, tmp_path: Path) -> None:
    part = tmp_path / "libpart.so.1"
    compile_driver(tmp_path).rename(part)
    needs = ["-Wl,--no-as-needed", f"-L{tmp_path}", "-l:libpart.so.1"]
    subprocess.run(["gcc", "-shared", "-o", tmp_path / "libcuda.so.1", *needs], check=True)
    part.unlink()
    found = ask_driver(Environment(live.root, tmp_path, 20))
    assert isinstance(found, BrokenDriver)
    assert "does not answer: libpart.so.1: cannot open" in found.found


def test_driver_without_its_ptx_compiler(live: Sample, tmp_path: Path) -> None:
    """jetpack-nixos#184. It is asked for where a library has PTX alone."""
    assert "compiler is not there" in faults(verify(live.root, only=["ptx"]))["ptx"]
    here = compile_driver(tmp_path)
    here.rename(tmp_path / "libcuda.so.1.1")
    here.symlink_to("libcuda.so.1.1")
    shutil.copy(tmp_path / "libcuda.so.1.1", tmp_path / "libnvidia-ptxjitcompiler.so.1")
    assert faults(verify(live.root, only=["ptx"])) == {}


def test_driver_of_which_an_image_has_an_empty_file(live: Sample, tmp_path: Path) -> None:
    """libnvidia-container#140."""
    (tmp_path / "libcuda.so.1").write_bytes(b"")
    found = ask_driver(Environment(live.root, tmp_path, 20))
    assert isinstance(found, BrokenDriver)
    assert "file too short" in found.found
    assert "--gpus all" in found.fix


def test_driver(live: Sample, tmp_path: Path) -> None:
    environment = Environment(live.root, tmp_path, 20)
    assert ask_driver(environment) == Driver(
        "12.6", (Gpu("Orin", "8.7", True, 64 << 30),), compiles=False
    )
    (tmp_path / "libcuda.so.1").write_bytes(b"not a library")
    assert isinstance(ask_driver(environment), BrokenDriver)
    (tmp_path / "libcuda.so.1").unlink()
    if not shutil.which("nvidia-smi"):
        assert ask_driver(environment) == "no NVIDIA driver here"
