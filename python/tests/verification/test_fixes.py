"""From a message to what to do about it."""

import string
import time

import pytest

from vllm_nix.verification.fixes import MOST, fix_for, rows

# As Python, ld.so, CUDA, NCCL, torch and vLLM write them; and a part of the fix.
MESSAGES = [
    ("ModuleNotFoundError: No module named 'vllm._C'", "--force-reinstall --no-deps"),
    ("ModuleNotFoundError: No module named 'torch.library'", "torch is of another release"),
    ("ModuleNotFoundError: No module named 'pkg_resources'", "setuptools<81"),
    ("ModuleNotFoundError: No module named 'setuptools'", "install what has the module setuptools"),
    (
        "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory",
        "--gpus all",
    ),
    (
        "ImportError: libcudart.so.13: cannot open shared object file: No such file or directory",
        "libcudart.so.13 is of a CUDA that is not here",
    ),
    ("ImportError: libcublas.so.12: cannot open shared object file", "for the CUDA of this torch"),
    ("ImportError: libc10.so: cannot open shared object file", "import torch before it"),
    (
        "OSError: libnccl.so.2: cannot open shared object file",
        "pip install --force-reinstall torch",
    ),
    ("OSError: libcudnn.so.9: cannot open shared object file", "--force-reinstall torch"),
    (
        "importlib.metadata.PackageNotFoundError: No package metadata was found for torchvision",
        "--force-reinstall torchvision:",
    ),
    ("Failed to set NUMA affinity: libnuma.so: cannot open shared object file", "libnuma-dev"),
    ("OSError: libnuma.so.1: cannot open shared object file", "apt-get install libnuma1"),
    ("ImportError: libGL.so.1: cannot open shared object file", "opencv-python-headless"),
    ("ImportError: libpython3.11.so.1.0: cannot open shared object file", "libpython3.11"),
    ("OSError: libavutil.so.58: cannot open shared object file", "FFmpeg"),
    ("ImportError: libfoo-1.so.2: cannot open shared object file", "apt-file search libfoo-1.so.2"),
    (
        "ImportError: /lib/x86_64-linux-gnu/libm.so.6: version `GLIBC_2.38' not found (required by x)",
        "glibc is older than 2.38",
    ),
    (
        "ImportError: /opt/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by x)",
        "install one with GLIBCXX_3.4.32",
    ),
    ("ImportError: libstdc++.so.6: version `CXXABI_1.3.15' not found", "with CXXABI_1.3.15"),
    (
        "ImportError: vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEa",
        "built against another torch",
    ),
    ("ImportError: libtorch_cuda.so: undefined symbol: ncclCommRegister", "libnccl.so.2 is found"),
    ("libcusparse.so.12: undefined symbol: __nvJitLinkComplete_12_4", "libnvJitLink"),
    ("libtorch_cpu.so: undefined symbol: iJIT_NotifyEvent", "mkl<2024.1"),
    (
        "ImportError: /env/lib/libgomp-d22c30c5.so.1.0.0: cannot allocate memory in static TLS block",
        "LD_PRELOAD=/env/lib/libgomp-d22c30c5.so.1.0.0",
    ),
    ("ImportError: libx.so: cannot enable executable stack as shared object", "execstack"),
    ("OSError: [Errno 8] Exec format error: 'ptxas'", "another processor"),
    ("ImportError: x.so: file too short", "install that distribution again"),
    ("RuntimeError: Numpy is not available", "numpy<2"),
    ("ptxas fatal   : Unsupported .version 8.7; current version is '8.4'", "TRITON_PTXAS_PATH"),
    ("nvcc fatal   : Unsupported gpu architecture 'compute_120'", "nvcc knows compute_120"),
    ("nvrtc: error: invalid value for --gpu-architecture (-arch)", "nvidia-cuda-nvrtc"),
    (
        "The detected CUDA version (12.1) mismatches the version that was used to compile PyTorch (13.0)",
        "CUDA's toolkit 13.0",
    ),
    ("AttributeError: module 'torch' has no attribute 'cuda'", "torch is not whole"),
    ("RuntimeError: NCCL error: invalid usage (run with NCCL_DEBUG=WARN)", "a device of its own"),
    (
        "DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.",
        "MASTER_ADDR",
    ),
    ("Illegal instruction (core dumped)", "instructions that this processor lacks"),
    ("AttributeError: _ARRAY_API not found", "numpy<2"),
    ("RuntimeError: operator torchvision::nms does not exist", "torchvision of this torch"),
    (
        (
            "ImportError: tokenizers>=0.21,<0.22 is required for a normal functioning of this module, but "
            "found tokenizers==0.23.3."
        ),
        'pip install "tokenizers>=0.21,<0.22"',
    ),
    (
        (
            "SystemError: The installed pydantic-core version (2.41.5) is incompatible with the current "
            "pydantic version, which requires 2.33.2."
        ),
        "pydantic-core==2.33.2",
    ),
    (
        "RuntimeError: flashinfer-cubin version (0.6.13) does not match flashinfer version (0.6.14)",
        "flashinfer-cubin==0.6.14",
    ),
    (
        "ImportError: cannot import name 'ALLOWED_LAYER_TYPES' from 'transformers.configuration_utils'",
        "transformers is of another release",
    ),
    ("RuntimeError: CUDA error: no kernel image is available for execution", "gpu-code"),
    ("CUDA driver version is insufficient for CUDA runtime version", "update the driver"),
    ("the provided PTX was compiled with an unsupported toolchain.", "see `ptx`"),
    ("Error 804: forward compatibility was attempted on non supported HW", "cuda-compat"),
    ("Error 803: system has unsupported display driver / cuda driver combination", "reboot"),
    ("Error 802: system not yet initialized", "nvidia-fabricmanager"),
    ("CUDA unknown error - this may be due to an incorrectly set up environment", "nvidia_uvm"),
    ("RuntimeError: No CUDA GPUs are available", "CUDA_VISIBLE_DEVICES"),
    ("AssertionError: Torch not compiled with CUDA enabled", "install the one for CUDA"),
    ("Cannot re-initialize CUDA in forked subprocess", "VLLM_WORKER_MULTIPROC_METHOD=spawn"),
    ("CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", "memory is full"),
    ("CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx", "unset LD_LIBRARY_PATH"),
    ("Free memory on device (3.1/23.6 GiB) on startup is less", "--gpu-memory-utilization"),
    ("ValueError: No available memory for the cache blocks.", "raise --gpu-memory-utilization"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "other programs hold"),
    ("Bfloat16 is only supported on GPUs with compute capability of at least 8.0", "--dtype half"),
    ("ncclInvalidUsage: Duplicate GPU detected : rank 1 and rank 0", "a device of its own"),
    ("NCCL error in: x.cpp:3356, unhandled system error, NCCL version 2.27", "--shm-size=8g"),
    ("Bootstrap : no socket interface found", "NCCL_SOCKET_IFNAME"),
    ("Error while creating shared memory segment /dev/shm/nccl-Xb6 (size 9637888)", "--shm-size"),
    ("OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'", "/dev/shm larger"),
    ("OSError: [Errno 28] No space left on device: '/tmp/x'", "TMPDIR"),
    ("unhandled cuda error (run with NCCL_DEBUG=INFO for details)", "NCCL_P2P_DISABLE=1"),
    ("Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1)", "NCCL_P2P_DISABLE=1"),
    ("[Errno 98] Address already in use", "MASTER_PORT"),
    ("RuntimeError: Failed to find C compiler. Please specify via CC", "apt-get install gcc"),
    ("main.c:5:10: fatal error: Python.h: No such file or directory", "python3-dev"),
    ("torch._inductor.exc.InvalidCxxCompiler: No working C++ compiler found", "g++"),
    ("/usr/bin/ld: cannot find -lcuda: No such file or directory", "TRITON_LIBCUDA_PATH"),
    (
        "ptxas fatal : Value 'sm_121a' is not defined for option 'gpu-name'",
        "TRITON_PTXAS_BLACKWELL",
    ),
    ("RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda'", "CUDA_HOME"),
    ("RuntimeError: Ninja is required to load C++ extensions", "pip install ninja"),
    ("RuntimeError: Failed to infer device type", "vllm-nix targets"),
    ("killed by SIGILL", "this processor lacks"),
    ("killed by SIGBUS", "--shm-size=8g"),
    ("OSError: [Errno 24] Too many open files", "ulimit -n 65536"),
    ("RuntimeError: can't start new thread", "pids-limit"),
    ("PermissionError: [Errno 13] Permission denied: '/home/a/.triton/cache'", "TRITON_CACHE_DIR"),
    ("no answer within 180 s", "--timeout 600"),
]


@pytest.mark.parametrize(("message", "fix"), MESSAGES)
def test_fix(message: str, fix: str) -> None:
    assert fix in fix_for(message)
    assert fix in fix_for(f"first line\n{message}\nlast line")


def test_rows() -> None:
    for row in rows():
        assert row.source
        assert "\n" not in row.fix
        fields = {name for _, name, _, _ in string.Formatter().parse(row.fix) if name}
        assert fields <= row.pattern.groupindex.keys()


def test_no_row_hides_another() -> None:
    """Each of the messages' rows is another one, or one of a few that several messages share."""
    used = {next(row for row in rows() if row.pattern.search(text)) for text, _ in MESSAGES}
    assert len(used) > 60


def test_nothing_is_known() -> None:
    assert fix_for("ValueError: 7") == ""
    assert fix_for("ValueError: 7", "look") == "look"


@pytest.mark.parametrize(
    "text",
    ["a", "lib", "No module named '", "undefined symbol: ", "version `", "nccl", "/a.so", "a>=1,"],
)
def test_hostile_messages_take_no_time(text: str) -> None:
    started = time.monotonic()
    fix_for(text * (2 * MOST // len(text)))
    assert time.monotonic() - started < 2
