# What a build of vLLM for CUDA has beside the others: the compilers, torch, and other projects' sources.
{
  buildCudaWheel,
  cmakeForWheels,
  cudaToolkit,
  cudaPackages,
  cutlass,
  due,
  lib,
  maxJobsHook,
  ninja,
  runCommand,
  stdenv,
  stubTorch,
  target,
  torchForBuild,
  vllm-flash-attn,
}:
let
  inherit (import ../../nix/lib) cuda;
  inherit (target.vllm) version;
  host = (cudaPackages.backendStdenv or stdenv).cc.version;
  forOrin = lib.elem "8.7" target.cuda.capabilities;
  nothing = name: runCommand "no-${name}" { } "mkdir $out";
in
# Said by CMakeLists.txt too, after hours of torch.
if lib.versionAtLeast version "0.32.0" && lib.versionOlder host "13" then
  throw "vllm ${version} for CUDA needs g++ 13 or newer, and this base has ${host}; use nixpkgs"
else if forOrin && due version (import ./sm87.nix) == [ ] then
  throw "vllm ${version}: what it compiles for capability 8.7 is not known; add a row to pkgs/vllm/sm87.nix"
else
  {
    buildWheel = buildCudaWheel cudaPackages;
    compiler = cudaPackages.cudaMajorMinorVersion;
    isPure = false;
    patches = lib.optional forOrin "sm87" ++ [
      "hopper"
      "offline"
    ];
    build-system = torchForBuild;
    inherit (cudaToolkit) libraries;
    # What the wheel requires is known without the torch that takes hours to build.
    metadata.build-system = [
      (stubTorch.override { cudaRelease = cudaPackages.cudaMajorMinorVersion; })
    ];
    environment = {
      nativeBuildInputs = [
        cmakeForWheels
        cudaToolkit
        maxJobsHook
        ninja
      ];
      buildInputs = cudaToolkit.libraries; # cuda_runtime.h, for g++
      memoryPerJob = target.build.memory-per-job or null;
      requiredSystemFeatures = [ "big-parallel" ];
      # setup.py takes MAX_JOBS for threads, and divides it by NVCC_THREADS.
      preBuild = "export MAX_JOBS=$((MAX_JOBS * NVCC_THREADS))";
      CUDA_HOME = cudaToolkit;
      TORCH_CUDA_ARCH_LIST = cuda.archList target.cuda.capabilities;
      VLLM_CUTLASS_SRC_DIR = cutlass;
      CMAKE_POLICY_VERSION_MINIMUM = "3.5";
    }
    # Before that, flash-attention is a wheel of its own.
    // lib.optionalAttrs (lib.versionAtLeast version "0.6.2") {
      VLLM_FLASH_ATTN_SRC_DIR = vllm-flash-attn;
    }
    # Configured for every GPU, compiled for Hopper and newer.
    // lib.optionalAttrs (lib.versionAtLeast version "0.8.0") {
      FLASH_MLA_SRC_DIR =
        if lib.any (each: lib.versionAtLeast each "9.0") target.cuda.capabilities then
          throw "vllm ${version} compiles FlashMLA for capabilities from 9.0 on, and its source is not known here; take the registry's wheel"
        else
          nothing "flash-mla";
    }
    # Read for every GPU: kernels for Blackwell, and Python files for GPT-OSS's MXFP4, which go without.
    // lib.optionalAttrs (lib.versionAtLeast version "0.11.1") {
      QUTLASS_SRC_DIR = nothing "qutlass";
      TRITON_KERNELS_SRC_DIR = nothing "triton-kernels";
    };
  }
