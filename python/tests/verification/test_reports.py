"""What public reports say, shortened, with their threads, and a part of the fix."""

import pytest

from vllm_nix.verification.fixes import fix_for

REPORTS = [
    ("vllm#36077", "/bin/sh: 1: :/usr/local/cuda-12.8/bin/nvcc: not found", "begins with a colon"),
    (
        "flashinfer#1532",
        "nvcc fatal   : Unknown option '-static-global-template-stub=false'",
        "a newer CUDA toolkit",
    ),
    ("exllama#293", "/bin/sh: 1: /usr/bin/nvcc: not found", "install CUDA's toolkit"),
    (
        "vllm#41410",
        "PermissionError: [Errno 13] Permission denied: '/tmp/tvm-debug-mode-tempdirs/2026/00000'",
        "another user's",
    ),
    (
        "pytorch#34238",
        "PermissionError: [Errno 13] Permission denied: '/tmp/torch_extensions/fused'",
        "TORCH_EXTENSIONS_DIR",
    ),
    (
        "triton#518",
        "PermissionError: [Errno 13] Permission denied: '/tmp/triton/d645ef562cfc8f31ab6c7b88eccac0f6.lock'",
        "TRITON_CACHE_DIR",
    ),
    (
        "vllm#3513",
        "PermissionError: [Errno 13] Permission denied: '/tmp/ray/session_2024-03-19_01'",
        "RAY_TMPDIR",
    ),
    (
        "",
        "PermissionError: [Errno 13] Permission denied: '/tmp/torchinductor_root/fxgraph'",
        "TORCHINDUCTOR_CACHE_DIR",
    ),
    ("", "PermissionError: [Errno 13] Permission denied: '/tmp/tmpabc/ptxas'", "noexec"),
    (
        "LLMFlux#124",
        "OSError: [Errno 30] Read-only file system: '/projects/data/.cache/flashinfer'",
        "XDG_CACHE_HOME",
    ),
    ("wyoming#27", "OSError: [Errno 30] Read-only file system: '/nonexistent'", "HOME"),
    ("LLMFlux#58", "OSError: [Errno 30] Read-only file system: '/projects/hf'", "HF_HOME"),
    (
        "mamba#363",
        "FileNotFoundError: [Errno 2] No such file or directory: 'ldconfig'",
        "/sbin on PATH",
    ),
    (
        "vllm#18851",
        "AssertionError: failed to get the hash of the compiled graph",
        "torch_compile_cache",
    ),
    (
        "vllm#21858",
        "RuntimeError: vLLM failed to compile the model. The most likely reason for this is that a previous compilation failed, leading to a corrupted compilation artifact.",
        "torch_compile_cache",
    ),
    (
        "vllm#13040",
        "OSError: /x/torchvision.libs/libcudart.41118559.so.12 (deleted): cannot open shared object file: No such file or directory",
        "restart",
    ),
    (
        "vllm#23925",
        "ImportError: /projects/vllm/vllm/_C.abi3.so: undefined symbol: _Z24silu_and_mul_nvfp4_quantRN2at6TensorES1_S1_S1_",
        "rm -rf build .deps",
    ),
    (
        "vllm#28199",
        "ImportError: /x/vllm/_C.abi3.so: undefined symbol: _Z20cutlass_moe_mm_sm100RN2at6TensorERKS0_S3_bb",
        "rm -rf build .deps",
    ),
    (
        "saturncloud#483",
        "ImportError: /lib/x86_64-linux-gnu/libstdc++.so.6: version `CXXABI_1.3.15' not found (required by /opt/conda/lib/python3.12/site-packages/scipy/optimize/_highspy/_core.so)",
        "$CONDA_PREFIX/lib",
    ),
    (
        "fastllm#339",
        "OSError: /home/jwkj/miniconda3/bin/../lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by /home/x/libfastllm_tools.so)",
        "conda-forge libstdcxx",
    ),
    (
        "vllm#1758",
        "ImportError: /x/vllm/cuda_utils.cpython-39-x86_64-linux-gnu.so: undefined symbol: _ZNSt15__exception_ptr13exception_ptr10_M_releaseEv",
        "older libstdc++",
    ),
    (
        "deepmd#2241",
        "OSError: /x/libcublas.so.11: symbol cublasLtHSHMatmulAlgoInit, version libcublasLt.so.11 not defined in file libcublasLt.so.11 with link time reference",
        "another libcublasLt.so.11",
    ),
    (
        "pulumi#7754",
        "ImportError: /nix/store/gk42-glibc-2.32-48/lib/libc.so.6: version `GLIBC_2.33' not found (required by /nix/store/lg10-gcc-10.3.0-lib/lib/libstdc++.so.6)",
        "nixpkgs",
    ),
    (
        "llama-cpp-python#645",
        "RuntimeError: CUDA error: OS call failed or operation not supported on this OS",
        "seccomp=unconfined",
    ),
    (
        "toolkit#908",
        "nvidia-container-cli: initialization error: cuda error: os call failed or operation not supported on this os: unknown.",
        "nvidia-smi work",
    ),
    ("Robotec#322", "RuntimeError: CUDA error: operation not supported", "enable_uvm"),
    (
        "aws-do-eks#51",
        "RuntimeError: [enforce fail at device.cc:84] ifa != nullptr. Unable to find address for: ^lo",
        "no list",
    ),
    ("vllm#19656", "fatal error: stddef.h: No such file or directory", "its own headers"),
    ("pytorch#173679", "OSError: [Errno 116] Stale file handle", "local disk"),
    (
        "pytorch#173679",
        "OSError: [Errno 16] Device or resource busy: '/home/me/.triton/cache/x/tmp/cuda_utils.so' -> '/home/me/.triton/cache/x/cuda_utils.so'",
        "local disk",
    ),
    (
        "vllm#6180",
        "FileNotFoundError: [Errno 2] No such file or directory: '/home/vllm/.triton/cache/c926ad/fused_moe_kernel.cubin.tmp.pid_72_945989'",
        "local disk",
    ),
    (
        "vllm#37561",
        "RuntimeError: libtcmalloc is not found in LD_PRELOAD. Please follow the section `set LD_PRELOAD`",
        "libtcmalloc-minimal4",
    ),
    ("cutlass#3001", "ModuleNotFoundError: No module named 'cutlass'", "nvidia-cutlass-dsl"),
    (
        "dynamo#11775",
        "ImportError: cannot import name 'increment_coord' from 'cutlass.cute.core' (/x/cutlass/cute/core.py)",
        "nvidia-cutlass-dsl",
    ),
    (
        "vllm#44949",
        "TypeError: mlir_global_dtors() missing 1 required positional argument: 'data'",
        "nvidia-cutlass-dsl",
    ),
    (
        "ktransformers#2045",
        "terminate called after throwing an instance of 'tvm::ffi::Error' what():  TypeAttr `__ffi_repr__` is already registered for type index 130",
        "apache-tvm-ffi<0.1.12",
    ),
    (
        "vllm#25802",
        "vllm.third_party.pynvml.NVMLError_InvalidArgument: Invalid Argument",
        "CUDA_VISIBLE_DEVICES",
    ),
    (
        "vllm#14320",
        "ValueError: Invalid attention backend for cuda, with use_v1: False use_mla: False",
        "unset VLLM_ATTENTION_BACKEND",
    ),
    (
        "vllm#32732",
        "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=576)",
        "--kv-cache-dtype auto",
    ),
    (
        "pytorch#19943",
        "ImportError: cannot import name 'Random' from 'random' (/x/lib/python3.7/site-packages/torch/random.py)",
        "hides Python's own module",
    ),
    (
        "",
        "ImportError: libcudart.so.12: cannot open shared object file: Permission denied",
        "chmod -R a+rX",
    ),
    (
        "",
        "ImportError: libcudart.so.12: cannot open shared object file: Too many open files",
        "ulimit -n",
    ),
    (
        "",
        "ImportError: /nfs/torch/lib/libtorch_cpu.so: cannot open shared object file: Stale file handle",
        "local disk",
    ),
    ("", "ImportError: Error relocating /x/_C.so: __memcpy_chk: symbol not found", "Alpine"),
    (
        "",
        "ImportError: Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by /x/_C.so)",
        "Alpine",
    ),
    ("", "fatal error: math.h: No such file or directory", "libc6-dev"),
    ("", "x.cpp:1:10: fatal error: cstdlib: No such file or directory", "apt-get install g++"),
    ("", "x.cpp:1:10: fatal error: 'type_traits' file not found", "libstdc++-N-dev"),
    ("", "main.c:1:10: fatal error: 'Python.h' file not found", "python3-dev"),
    ("", "/usr/bin/ld: cannot find -lgomp", "apt-get install g++"),
    ("", "collect2: fatal error: cannot find 'ld'", "binutils"),
    ("", "nvcc fatal   : Cannot find compiler 'g++' in PATH", "NVCC_CCBIN"),
    ("", "nvcc fatal   : Could not open output file '/tmp/tmpxft_0000'", "TMPDIR"),
    ("", "OSError: AF_UNIX path too long", "short folder"),
    ("", "OSError: [Errno 38] Function not implemented", "/dev/shm"),
    ("", "AttributeError: Can't pickle local object 'main.<locals>.f'", "top of a module"),
    (
        "",
        "FileNotFoundError: [Errno 2] No such file or directory: '/home/u/<stdin>'",
        "from a file",
    ),
    ("", "AssertionError: daemonic processes are not allowed to have children", "no daemon"),
    ("", "ValueError: signal only works in main thread of the main interpreter", "main thread"),
    (
        "",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        "stands above it",
    ),
    (
        "",
        "RuntimeError: NCCL error: internal error - please report this issue to the NCCL developers",
        "other ranks",
    ),
    (
        "",
        "huggingface_hub.errors.HfHubHTTPError: 401 Client Error: Unauthorized for url",
        "HF_TOKEN",
    ),
    ("", "httpx.ConnectTimeout: [Errno 110] Connection timed out", "HTTPS_PROXY"),
    (
        "",
        "openai_harmony.HarmonyError: error downloading or loading vocab file: failed to download or load vocab file",
        "TIKTOKEN_ENCODINGS_BASE",
    ),
    ("", "OSError: [Errno 37] No locks available", "local disk"),
    ("", "Unable to determine the device handle for GPU0000:41:00.0: GPU is lost.", "Xid 79"),
    ("", "RuntimeError: CUDA error: unknown error", "nvidia_uvm"),
    ("", "RuntimeError: CUDA error: misaligned address", "--enforce-eager"),
    ("", "pynvml.NVMLError_DriverNotLoaded: Driver Not Loaded", "modprobe nvidia"),
    ("", "pynvml.NVMLError_Unknown: Unknown Error", "native.cgroupdriver"),
    ("", "pynvml.NVMLError_FunctionNotFound: Function Not Found", "nvidia-ml-py"),
    (
        "nvidia-container-toolkit#146",
        "failed to inject CDI devices: unresolvable CDI devices nvidia.com/gpu=all: unknown",
        "nvidia-ctk cdi generate",
    ),
    (
        "nvidia-container-toolkit#885",
        'Error: failed to stat CDI host device "/dev/nvidia-modeset": no such file or directory',
        "nvidia-ctk cdi generate",
    ),
    (
        "nvidia-container-toolkit#106",
        "nvidia-container-cli: mount error: failed to add device rules: bpf_prog_query(BPF_CGROUP_DEVICE) failed: operation not permitted",
        "no-cgroups",
    ),
    (
        "nvidia-docker#1155",
        "nvidia-container-cli: mount error: open failed: /sys/fs/cgroup/devices/user.slice/devices.allow: permission denied",
        "no-cgroups",
    ),
    ("nvidia-docker#1283", "nvidia-container-cli: device error: 1: unknown device", "1 is no GPU"),
    (
        "nvidia-container-toolkit#147",
        "nvidia-container-cli: ldcache error: process /sbin/ldconfig.real failed with error code: 1: unknown.",
        "config.toml",
    ),
    ("vllm#10556", "RuntimeError: numa_migrate_pages failed. errno: 1", "SYS_NICE"),
    ("vllm#24016", "get_mempolicy: Operation not permitted", "SYS_NICE"),
    (
        "vllm#16514",
        "[/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:133] Timed out waiting 1800000ms for send operation to complete",
        "another rank",
    ),
    (
        "nccl#1925",
        "NCCL WARN MNNVL (cliqueSize 8) is available but not working on this system. Check the IMEX channel configuration (/dev/nvidia-caps-imex-channels).",
        "NCCL_MNNVL_ENABLE=0",
    ),
    ("vllm#34573", "RuntimeError: No HIP GPUs are available", "/dev/kfd"),
    (
        "nougat#105",
        "Could not load library libcudnn_cnn_infer.so.8. Error: libcuda.so: cannot open shared object file: No such file or directory",
        "ln -s libcuda.so.1",
    ),
    (
        "R3Det_Tensorflow#78",
        "ImportError: /usr/lib/x86_64-linux-gnu/libcuda.so.1: file too short",
        "--gpus all",
    ),
    (
        "vllm#48397",
        "ImportError: cannot import name 'direct_register_custom_op' from partially initialized module 'vllm.utils.torch_utils' (most likely due to a circular import)",
        "under WSL",
    ),
    (
        "vllm#1719",
        "ImportError: cannot import name 'cuda_utils' from partially initialized module 'vllm' (most likely due to a circular import) (/w/vllm/__init__.py)",
        "another folder",
    ),
    (
        "vllm#24289",
        "AttributeError: module 'triton.language' has no attribute 'constexpr_function'",
        "triton_kernels",
    ),
    (
        "pytorch#129954",
        'RuntimeError: NVML_SUCCESS == DriverAPI::get()->nvmlInit_v2_() INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":799',
        "--gpu-memory-utilization",
    ),
    (
        "vllm#2544",
        'RuntimeError: NVML_SUCCESS == DriverAPI::get()->nvmlDeviceGetHandleByPciBusId_v2_( pci_id, &nvml_device) INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":1139',
        "another device",
    ),
    (
        "vllm#36802",
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 81920, Hardware limit: 65536. Reducing block sizes or `num_stages` may help.",
        "65536 bytes",
    ),
    ("flash-attention#1549", 'Killed                  "$CICC_PATH/cicc" --c++17', "MAX_JOBS"),
    ("flashinfer#3634", "FAILED: [code=137] fp4_gemm_cutlass_sm120.cuda.o", "MAX_JOBS"),
    ("", "g++: fatal error: Killed signal terminated program cc1plus", "MAX_JOBS"),
    (
        "vision#8540",
        "gcc: fatal error: cannot execute 'cc1plus': execvp: No such file or directory",
        "g++",
    ),
    ("", "gcc: error trying to exec 'cc1plus': execvp: No such file or directory", "g++"),
    (
        "",
        "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
        "--port",
    ),
    (
        "pydantic#9637",
        "TypeError: ForwardRef._evaluate() missing 1 required keyword-only argument: 'recursive_guard'",
        "pydantic",
    ),
    (
        "vllm#8650",
        "AttributeError: module 'cv2.dnn' has no attribute 'DictValue'",
        "opencv-python-headless",
    ),
    (
        "",
        "ImportError: Error importing numpy: you should not try to import numpy from its source directory",
        "not whole",
    ),
    (
        "Second-Me#161",
        "ImportError: /e/lib-dynload/_sqlite3.cpython-312-x86_64-linux-gnu.so: undefined symbol: sqlite3_deserialize",
        "libsqlite3",
    ),
    (
        "",
        "UnicodeEncodeError: 'ascii' codec can't encode character '\\u2588' in position 3: ordinal not in range(128)",
        "PYTHONUTF8",
    ),
    ("", "AttributeError: module 'torch.library' has no attribute 'custom_op'", "custom_op"),
    (
        "",
        "TypeError: infer_schema() got an unexpected keyword argument 'mutates_args'",
        "another torch",
    ),
    (
        "vllm#8207",
        "RuntimeError: Tried to instantiate class '_core_C.ScalarType', but it does not exist!",
        "another torch",
    ),
    ("", "/usr/bin/ld: cannot find -lpython3.12", "libpython3.12-dev"),
    (
        "llama.cpp#11787",
        "/tmp/x.s:15: Assembler messages: Error: no such instruction: `vpdpbusd'",
        "binutils",
    ),
    ("vllm#16336", "RuntimeError: `ptxas` failed with error code 255", "TRITON_PTXAS_PATH"),
    (
        "",
        "`ptxas` failed with error code 255\n`ptxas` stderr:\nptxas fatal   : Value 'sm_120' is not defined for option 'gpu-name'",
        "newer ptxas",
    ),
    ("", "FileNotFoundError: [Errno 2] No such file or directory: 'ptxas'", "triton wheel"),
    (
        "cudarc#253",
        'DriverError(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed")',
        "update the driver",
    ),
    (
        "jetpack-nixos#184",
        "RuntimeError: CUDA error: PTX JIT compiler library not found",
        "libnvidia-ptxjitcompiler.so.1",
    ),
    ("", "/usr/bin/env: 'python': No such file or directory", "python-is-python3"),
    (
        "",
        "bash: /home/u/venv/bin/vllm: /old/bin/python3: bad interpreter: No such file or directory",
        "was moved",
    ),
    (
        "LocalAI#11370",
        "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /x/libnuma.so.1)",
        "glibc is older",
    ),
    (
        "vllm#34199",
        "ValueError: VLLM_PORT 'tcp://169.169.193.120:6785' appears to be a URI.",
        "enableServiceLinks",
    ),
    (
        "GenAIInfra#612",
        "ValueError: invalid literal for int() with base 10: 'tcp://10.100.120.175:80'",
        "enableServiceLinks",
    ),
    (
        "DeepGEMM#427",
        "RuntimeError: Assertion error (csrc/apis/../jit_kernels/impls/../../jit/kernel_runtime.hpp:45): exit_code == 0",
        "cuobjdump",
    ),
    (
        "vllm#49051",
        'RuntimeError: Assertion error (/x/jit/compiler.hpp:187): (major > 12 or (major == 12 and minor >= 3)) and "NVCC version should be >= 12.3"',
        "12.3 or newer",
    ),
    (
        "vllm-gb10#27",
        "RuntimeError: Assertion error (csrc/apis/hyperconnection.hpp:56): Unsupported architecture",
        "VLLM_USE_DEEP_GEMM=0",
    ),
    ("vllm#2406", "ValueError: Ray does not allocate any GPUs on the driver node.", "ray status"),
    (
        "vllm#7815",
        "Error: No available node types can fulfill resource request {'node:10.0.0.1': 0.001, 'GPU': 1.0}",
        "VLLM_HOST_IP",
    ),
    (
        "vllm#1937",
        "RuntimeError: The actor with name RayWorkerVllm failed to import on the worker.",
        "same environment",
    ),
    (
        "vllm#7699",
        "RuntimeError: Every node should have a unique IP address. Got 2 nodes",
        "every host",
    ),
    (
        "",
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
        "host's memory",
    ),
    (
        "vllm#9728",
        "UnboundLocalError: cannot access local variable 'mem' where it is not associated with a value",
        "0.6.5",
    ),
    (
        "vllm#11739",
        "RuntimeError: Only one platform plugin can be activated, but got: ['cuda', 'cpu']",
        "VLLM_PLUGINS",
    ),
    (
        "",
        "ValueError: Weight output_size_per_partition = 1216 is not divisible by min_thread_n = 64.",
        "--tensor-parallel-size",
    ),
    (
        "",
        "ImportError: Please install bitsandbytes>=0.46.1 by running `pip install bitsandbytes>=0.46.1` to use bitsandbytes quantizer.",
        "'bitsandbytes>=0.46.1'",
    ),
    ("vllm#22331", "AssertionError: Sinks are only supported in FlashAttention 3", "TRITON_ATTN"),
    (
        "",
        "RuntimeError: CUDA error: operation not permitted when stream is capturing",
        "--enforce-eager",
    ),
    ("", "Invalid handle. Cannot load symbol cublasLtGetVersion", "LD_LIBRARY_PATH"),
    (
        "lbann#768",
        "OMP: Error #179: Function pthread_setaffinity_np failed:",
        "VLLM_CPU_OMP_THREADS_BIND",
    ),
    (
        "",
        "ValueError: User-specified max_model_len (40960) is greater than the derived max_model_len (max_position_embeddings=32768)",
        "--max-model-len",
    ),
    (
        "vllm#28741",
        "torch._inductor.exc.InductorError: PermissionError: [Errno 13] Permission denied: 'nvcc'",
        "out of PATH",
    ),
    ("", "PermissionError: [Errno 13] Permission denied: '/dev/kfd'", "render"),
    (
        "vllm#15174",
        "python3: error while loading shared libraries: /home/me/.local/share/uv/python/cpython-3.12.9-linux-x86_64-gnu/bin/../lib/libpython3.12.so.1.0: cannot open shared object file: Permission denied",
        "may not read it",
    ),
    (
        "tiny-cuda-nn#337",
        "/g/libexec/gcc/cc1plus: error while loading shared libraries: libmpfr.so.1: cannot open shared object file: No such file or directory",
        "name another compiler",
    ),
    (
        "triton#5385",
        "ptxas add_kernel.ptx, line 5; fatal   : Unsupported .version 8.4; current version is '7.8'",
        "name a newer ptxas",
    ),
    (
        "WSL#9962",
        "Failed to initialize NVML: GPU access blocked by the operating system",
        "update Windows' driver",
    ),
    (
        "nccl#955",
        "NCCL WARN Cuda failure 'API call is not supported in the installed CUDA driver'",
        "update the driver",
    ),
    (
        "vllm#18335",
        "RuntimeError: CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasCreate(handle)`",
        "unset LD_LIBRARY_PATH",
    ),
    (
        "vllm#16995",
        "ImportError: cannot import name '_vllm_fa3_C' from 'vllm.vllm_flash_attn' (/v/vllm/vllm_flash_attn/__init__.py)",
        "install vLLM's wheel again",
    ),
    (
        "opentelemetry-python#2841",
        "ModuleNotFoundError: No module named 'google.protobuf'",
        "pip install protobuf",
    ),
    (
        "autogen#6419",
        "ModuleNotFoundError: No module named 'opentelemetry.exporter'",
        "install what has the module opentelemetry.exporter",
    ),
    (
        "",
        "ImportError: This modeling file requires the following packages that were not found in your environment: einops, timm. Run `pip install einops timm`",
        "pip install them: einops, timm, which",
    ),
    ("", "OSError: Triton Error [CUDA]: out of memory", "lower --gpu-memory-utilization"),
    ("", "RuntimeError: CUDA error: device-side assert triggered", "CUDA_LAUNCH_BLOCKING=1"),
    ("", "locale.Error: unsupported locale setting", "LC_ALL=C.UTF-8"),
    ("", "ImportError: dlopen: cannot load any more object with static TLS", "LD_PRELOAD"),
    ("", "what():  std::bad_alloc", "more memory"),
    ("", "requests.exceptions.HTTPError: Invalid user token.", "HF_TOKEN"),
    (
        "",
        "403 Forbidden: Authorization error.. Cannot access content at: a file",
        "may not read gated repositories",
    ),
    (
        "",
        "ImportError: mistral_common is not installed. Please install it with `pip install mistral-common[image]`",
        "pip install 'mistral-common[image]'",
    ),
    (
        "",
        "ImportError: Using `bitsandbytes` needs it: `pip install -U bitsandbytes>=0.46.1`",
        "pip install 'bitsandbytes>=0.46.1'",
    ),
    (
        "",
        "ImportError: LlamaTokenizer requires the protobuf library but it was not found in your environment.",
        "pip install 'protobuf'",
    ),
    (
        "",
        "ImportError: Please install vllm[audio] for audio support",
        "pip install 'vllm[audio]'",
    ),
    (
        "vllm#32116",
        "TimeoutError: Timed out waiting for engine core processes to start. Waited for configured timeout of 600s",
        "VLLM_ENGINE_READY_TIMEOUT_S=3600",
    ),
    (
        "",
        "Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:346 'an illegal memory access was encountered'",
        "--disable-custom-all-reduce",
    ),
    (
        "",
        "RuntimeError: NCCL communicator was aborted on rank 1.",
        "first message of the other ranks",
    ),
    (
        "",
        "RuntimeError: store->get('0') got error: wait timeout after 600000ms, keys: /default_pg/0//cuda//0",
        "MASTER_ADDR",
    ),
    (
        "",
        "NCCL WARN Mismatched NCCL version detected : rank 0 version 22703 rank 1 version 22605",
        "same NCCL on all hosts",
    ),
    (
        "",
        "NCCL WARN Cuda failure 999 'unknown error'",
        "nvidia_uvm",
    ),
    (
        "",
        "RuntimeError: CUDA driver error: out of memory",
        "lower --gpu-memory-utilization",
    ),
    (
        "",
        "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/models/qwen'.",
        "look at the model's name",
    ),
    (
        "",
        "ImportError: /t/lib/libtorch_python.so: undefined symbol: PyObject_GetOptionalAttr",
        "for another Python",
    ),
    (
        "vllm#12386",
        "AttributeError: module 'pynvml' has no attribute 'nvmlDeviceGetUUID'",
        "pip uninstall pynvml",
    ),
    (
        "vllm-ascend#1239",
        "what():  Only a single TORCH_LIBRARY can be used to register the namespace _C; please put all of your definitions in one",
        "until none is left",
    ),
    (
        "",
        "SystemError: initialization of _internal failed without raising an exception",
        "upgrade numba",
    ),
    (
        "",
        "RuntimeError: \"addmm_impl_cpu_\" not implemented for 'Half'",
        "--dtype bfloat16",
    ),
    (
        "",
        "AttributeError: module 'torch._C' has no attribute '_cuda_setDevice'",
        "install the one for CUDA",
    ),
    (
        "",
        "AttributeError: module 'torch.cuda' has no attribute 'MemPool'",
        "`pip check` names the release",
    ),
    (
        "",
        "ValueError: the KV cache of VLLM_CPU_KVCACHE_SPACE is too large",
        "fewer GiB",
    ),
    (
        "",
        "OSError: /t/torch/lib/libtorch_global_deps.so: cannot open shared object file: No such file or directory",
        "torch is not whole",
    ),
    (
        "",
        "ImportError: libgfortran-040039e1.so.5.0.0: cannot open shared object file: No such file or directory",
        "folder NAME.libs",
    ),
]


@pytest.mark.parametrize(("thread", "message", "fix"), REPORTS)
def test_fix(thread: str, message: str, fix: str) -> None:
    assert fix in fix_for(message), thread


def test_a_release_ends_before_the_sentence_does() -> None:
    message = (
        "SystemError: The installed pydantic-core version (2.41.5) is incompatible with the current pydantic "
        "version, which requires 2.41.4. If you encounter this error, make sure that you haven't upgraded it."
    )
    assert fix_for(message) == "pip install pydantic-core==2.41.4"
