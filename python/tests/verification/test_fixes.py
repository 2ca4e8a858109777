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
    ("ImportError: libnvonnxparser.so.10: cannot open shared object file", "tensorrt-cuNN-libs"),
    ("ImportError: libnvinfer_lean.so.10: cannot open shared object file", "tensorrt-cuNN-libs"),
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

# From public reports of vLLM, torch, NCCL, Ray, Ascend, Neuron and Jetson, shortened.
REPORTS = [
    (
        "NvRmMemInitNvmap failed with No such file or directory; 356: Memory Manager Not supported; ****NvRmMemMgrInit failed**** error type: 196626",
        "--runtime nvidia",
    ),
    (
        "ValueError: invalid literal for int() with base 10: 'MIG-377e0049-554c-540b-93c6-d0976f8426cb'",
        "takes no UUID",
    ),
    ("RuntimeError: UVA is not available", "VLLM_WSL2_ENABLE_PIN_MEMORY=1"),
    (
        "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-66f4b037) Cannot access gated repo for url https://hub.example/meta-llama",
        "HF_TOKEN",
    ),
    (
        "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. Repository Not Found for url: https://hub.example/api/models/org/private-model/revis",
        "model's name",
    ),
    (
        "huggingface_hub.utils._http.OfflineModeIsEnabled: Cannot reach https://hub.example/api/models/bigcode/starcoder: offline mode is enabled. To disable i",
        "unset HF_HUB_OFFLINE",
    ),
    (
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the specified revision on the local disk and out",
        "fetch the model first",
    ),
    (
        "requests.exceptions.ConnectionError: (MaxRetryError(\"HTTPSConnectionPool(host='hub.example', port=443): Max retries exceeded with url: /api/models/x (",
        "HF_ENDPOINT",
    ),
    (
        "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate chain",
        "SSL_CERT_FILE",
    ),
    ("OSError: [Errno 122] Disk quota exceeded: '/home/u/.cache/huggingface'", "quota"),
    (
        "RuntimeError: Data processing error: CAS service error : ReqwestMiddleware Error",
        "HF_HUB_DISABLE_XET=1",
    ),
    (
        "ValueError: The checkpoint you are trying to load has model type `qwen3_5` but Transformers does not recognize this architecture.",
        "knows qwen3_5",
    ),
    (
        "ValueError: Model architectures ['FooForCausalLM'] are not supported for now.",
        "--model-impl transformers",
    ),
    (
        "Failed to load NCCL library from libnccl.so.2 . It is expected if you are not running on NVIDIA/AMD GPUs. Otherwise, the nccl library might not exist",
        "VLLM_NCCL_SO_PATH",
    ),
    ("NameError: name 'ncclGetVersion' is not defined", "VLLM_NCCL_SO_PATH"),
    (
        "ImportError: libhccl.so: cannot open shared object file: No such file or directory",
        "set_env.sh",
    ),
    (
        "ImportError: libascend_hal.so: cannot open shared object file: No such file or directory",
        "Ascend's driver",
    ),
    ("ModuleNotFoundError: No module named 'tbe'", "set_env.sh"),
    (
        "RuntimeError: aclnnPromptFlashAttentionV3 or aclnnPromptFlashAttentionV3GetWorkspaceSize not in libopapi.so, or libopapi.sonot found.",
        "another release than torch_npu",
    ),
    (
        "ImportError: /x/torch_npu/lib/libtorch_npu.so: undefined symbol: aclrtSynchronizeStreamWithTimeout",
        "another release than torch_npu",
    ),
    ("EH9999: Inner Error! EH9999  [Init][Env]init env failed!", "npu-smi"),
    (
        "OSError: libnrt.so.1: cannot open shared object file: No such file or directory",
        "aws-neuronx-runtime-lib",
    ),
    (
        "ImportError: libtorchneuron.so: undefined symbol: nrt_tensor_copy, version NRT_2.0.0",
        "--only-upgrade",
    ),
    (
        "ERROR NRT:nrt_init Unable to determine Neuron Driver version. Please check aws-neuronx-dkms package is installed.",
        "aws-neuronx-dkms",
    ),
    ('RuntimeError: nrt_tensor_allocate status=4 message="Allocation Failure"', "--max-model-len"),
    (
        "OSError: /x/torchaudio/lib/libtorchaudio.so: undefined symbol: torch_library_impl",
        "another torch",
    ),
    (
        "RuntimeError: Detected that PyTorch and TorchAudio were compiled with different CUDA versions. PyTorch has CUDA version 12.4 whereas TorchAudio has CU",
        "one set",
    ),
    (
        "AttributeError: partially initialized module 'torchvision' has no attribute 'extension' (most likely due to a circular import)",
        "torchvision of this torch",
    ),
    (
        "OSError: libnvToolsExt.so.1: cannot open shared object file: No such file or directory",
        "nvidia-jetpack",
    ),
    ("OSError: libcudss.so.0: cannot open shared object file: No such file or directory", "cudss"),
    ("OSError: libtorch_hip.so: cannot open shared object file: No such file or directory", "ROCm"),
    (
        "libnvidia-ml.so.1: cannot open shared object file: No such file or directory",
        "compute,utility",
    ),
    (
        "RuntimeError: nvrtc: error: failed to open libnvrtc-builtins.so.13.0. Make sure that libnvrtc-builtins.so.13.0 is installed correctly.",
        "another NVRTC",
    ),
    (
        "Unable to load any of {libcudnn_engines_precompiled.so.9.1.0, libcudnn_engines_precompiled.so.9.1} Invalid handle. Cannot load symbol cudnnCreateTenso",
        "another cuDNN",
    ),
    (
        "OSError: libtorch_cuda.so: cannot open shared object file: No such file or directory",
        "torch for CUDA",
    ),
    (
        "/usr/local/cuda/include/crt/host_config.h:143:2: error: #error -- unsupported GNU version! gcc versions later than 12 are not supported!",
        "g++-12",
    ),
    (
        "RuntimeError: The current installed version of g++ (13.2.0) is greater than the maximum required version by CUDA 12.1 (13.0)",
        "CUDA 12.1 takes",
    ),
    (
        "/home/u/miniconda3/envs/vllm/compiler_compat/ld: cannot find -lpthread: No such file or directory",
        "compiler_compat",
    ),
    ("fatal error: crypt.h: No such file or directory", "libcrypt-dev"),
    ("fatal error: cuda_runtime.h: No such file or directory", "cuda_runtime.h"),
    (
        "AssertionError: Cannot find CUDA_HOME. CUDA must be available to build the package.",
        "CUDA_HOME",
    ),
    ("sh: 1: cicc: not found", "toolkit whole"),
    ("ModuleNotFoundError: No module named 'torch'", "--no-build-isolation"),
    ("ModuleNotFoundError: No module named 'flash_attn'", "flash-attn"),
    (
        "xFormers can't load C++/CUDA extensions. xFormers was built for: PyTorch 2.1.0+cu121 with CUDA 1201 (you have 2.1.2+cu118)",
        "xformers that was built",
    ),
    (
        "UserWarning: NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch installation. The current PyTorch install ",
        "gpu-code",
    ),
    (
        "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. Current capability: 80.",
        "FP8",
    ),
    ("RuntimeError: FlashAttention only supports Ampere GPUs or newer.", "TRITON_ATTN"),
    (
        "torch._inductor.exc.InductorError: CalledProcessError: Command '['/usr/bin/gcc', '/tmp/tmpx/main.c', '-lcuda']' returned non-zero exit status 1.",
        "`compilers`",
    ),
    ("NVMLError_LibRmVersionMismatch: RM has detected an NVML/RM version mismatch.", "reboot"),
    ("Failed to initialize NVML: Unknown Error", "systemd"),
    (
        'RuntimeError: NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":838',
        "memory is full",
    ),
    ("RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable", "-c DEFAULT"),
    (
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 34: CUDA driver is a stub library",
        "stubs",
    ),
    ("CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server", "MPS"),
    (
        "NCCL WARN Cuda failure 1 'invalid argument' transport/p2p.cc cuMemImportFromShareableHandle",
        "NCCL_CUMEM_ENABLE=0",
    ),
    (
        "NCCL WARN Cuda failure 101 'invalid device ordinal' mem alloc cuMemCreate CU_MEM_HANDLE_TYPE_FABRIC",
        "NCCL_CUMEM_ENABLE=0",
    ),
    (
        "NCCL WARN Cuda failure 801 'operation not supported' transport/nvls.cc",
        "NCCL_NVLS_ENABLE=0",
    ),
    (
        "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error. Last error: Error: network plugin not found",
        "NCCL_NET_PLUGIN",
    ),
    (
        "NCCL WARN socketProgressOpt: Call to recv from 10.0.0.2<41234> failed : Connection refused",
        "firewall",
    ),
    ("ibv_create_cq failed with error Cannot allocate memory", "memlock=-1"),
    ("RuntimeError: Distributed package doesn't have NCCL built in", "torch that has NCCL"),
    ("custom_all_reduce.cuh:453 'invalid argument'", "--disable-custom-all-reduce"),
    ("No available shared memory broadcast block found in 60 seconds.", "NCCL_P2P_DISABLE=1"),
    (
        "RuntimeError: Version mismatch: The cluster was started with: Ray: 2.40.0 Python: 3.11.2 This process on node 10.0.0.2 was started with: Ray: 2.41.0 P",
        "same Ray",
    ),
    (
        "ValueError: Current node has no GPU available. current_node_resource={'CPU': 8.0}. vLLM engine cannot start without GPU.",
        "ray status",
    ),
    (
        "torch.distributed.DistNetworkError: The client socket has failed to connect to any network address of (node1, 29500). The IPv4 network addresses of (node1, 29500) cannot be retrieved (gai error: -2 - Name or service not known).",
        "MASTER_ADDR",
    ),
    (
        "AssertionError: Memory pool cannot be used with expandable segments. cumem allocator. Expandable segments are not compatible with memory pool.",
        "PYTORCH_CUDA_ALLOC_CONF",
    ),
    ("ModuleNotFoundError: No module named 'vllm.cumem_allocator'", "--force-reinstall --no-deps"),
    ("AttributeError: '_OpNamespace' '_C' object has no attribute 'rms_norm'", "import vllm._C"),
    (
        "ImportError: cannot import name 'AutoProcessor' from 'transformers' (unknown location)",
        "not whole",
    ),
    ("ImportError: Numba needs NumPy 2.2 or less. Got NumPy 2.3.", "numpy==2.2.*"),
    (
        "ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88 from PyObject",
        "numpy>=2",
    ),
    ("AttributeError: module 'numpy' has no attribute 'bool8'.", "numpy<2"),
    ("ModuleNotFoundError: No module named 'distutils'", "setuptools"),
    ("ModuleNotFoundError: No module named '_ctypes'", "compiled without it"),
    ("AttributeError: module 'torch' has no attribute 'float8_e8m0fnu'", "torch is older"),
    ("ELF load command address/offset not page-aligned", "64 KiB"),
    (
        "ERROR: ld.so: object '/usr/lib/libtcmalloc_minimal.so.4' from LD_PRELOAD cannot be preloaded",
        "unset LD_PRELOAD",
    ),
    ("RuntimeError: vLLM CPU backend requires AVX512, AVX2, Power9+ ISA, S390X ISA", "AVX2"),
    ("KeyError: 'getpwuid(): uid not found: 1001'", "LOGNAME"),
    (
        'zmq.error.ZMQError: ipc path "/very/long" is longer than 107 characters (sizeof(sockaddr_un.sun_path)).',
        "VLLM_RPC_BASE_PATH",
    ),
    (
        "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, which is larger than the available KV",
        "--max-model-len",
    ),
    (
        "ValueError: World size (4) is larger than the number of available GPUs (2) in this node.",
        "--tensor-parallel-size",
    ),
    (
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
        "Container Toolkit",
    ),
    (
        "RuntimeError: Failed to get cubin file from https://edge.urm.nvidia.com/artifactory",
        "flashinfer-cubin",
    ),
    (
        "Error: mkl-service + Intel(R) MKL: MKL_THREADING_LAYER=INTEL is incompatible with libgomp-a34b3233.so.1 library.",
        "MKL_THREADING_LAYER=GNU",
    ),
    (
        "ImportError: libssl.so.1.1: cannot open shared object file: No such file or directory",
        "OpenSSL 1.1",
    ),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/sbin/ldconfig'", "TRITON_LIBCUDA"),
    ("LLVM ERROR: Cannot select: intrinsic %llvm.nvvm.shfl.sync.bfly.i32", "Triton has no code"),
    ("SafetensorError: Error while deserializing header: HeaderTooLarge", "hf download"),
    ("ValueError: Loading x requires you to execute the configuration file", "--trust-remote-code"),
    ("OSError: /models/a does not appear to have a file named config.json", "the folder"),
    ("RuntimeError: operator _C::rms_norm does not exist", "import vllm._C"),
    ("TypeError: unsupported operand type(s) for |: 'type' and 'NoneType'", "Python 3.10"),
    (
        "RuntimeError: CUDA driver initialization failed, you might not have a CUDA gpu.",
        "--gpus all",
    ),
    ("NCCL WARN Cuda failure 2 'out of memory'", "other programs hold"),
    ("AssertionError: Error in memory profiling. Initial free memory 21.0", "start again"),
    (
        "ncclUnhandledCudaError: Cuda failure 217 'peer access is not supported",
        "NCCL_P2P_DISABLE=1,",
    ),
    ("ncclUnhandledCudaError: Failed to CUDA calloc async 4 bytes", "enable_uvm"),
    ("ncclInternalError: Attribute busid of node nic not found", "NCCL_TOPO_FILE"),
    ("NCCL WARN NET/IB : Unable to open device mlx5_0", "NCCL_IB_DISABLE=1"),
    (
        "socketStartConnect: Connect to 172.17.0.2<1> failed : Software caused connection abort",
        "NCCL_SO",
    ),
]


@pytest.mark.parametrize(("message", "fix"), MESSAGES + REPORTS)
def test_fix(message: str, fix: str) -> None:
    assert fix in fix_for(message)
    assert fix in fix_for(f"first line\n{message}\nlast line")


def test_the_first_cause_of_a_chain_counts() -> None:
    """Whatever the rows' order is."""
    chain = (
        "RuntimeError: Numpy is not available; then ModuleNotFoundError: No module named 'vllm._C'"
    )
    assert "numpy<2" in fix_for(chain)
    assert "numpy<2" in fix_for(f"ValueError: 7; then {chain}")


def test_rows() -> None:
    for row in rows():
        assert row.source
        assert "\n" not in row.fix
        fields = {name for _, name, _, _ in string.Formatter().parse(row.fix) if name}
        assert fields <= row.pattern.groupindex.keys()


def test_no_row_hides_another() -> None:
    """Each of the messages' rows is another one, or one of a few that several messages share."""
    used = {
        next(row for row in rows() if row.pattern.search(text)) for text, _ in MESSAGES + REPORTS
    }
    assert len(used) > 130


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
