# CUDA 13.2 from the registry's wheels, under nixpkgs' names. `cudatoolkit` is what compiling needs
# in one folder: CUDA_HOME.
{
  lib,
  newScope,
  wheels,
}:
lib.makeScope newScope (
  self:
  let
    redist = self.callPackage ./redist.nix { };
    package =
      pname: from:
      redist {
        inherit pname;
        wheels = map (name: wheels.${name}) from;
      };
    compiler = [
      "nvidia-cuda-nvcc"
      "nvidia-cuda-crt"
      "nvidia-nvvm"
    ];
  in
  {
    cudaVersion = "13.2";
    cudaMajorMinorVersion = "13.2";
    cudaMajorVersion = "13";
    cudaOlder = lib.versionOlder "13.2";
    cudaAtLeast = lib.versionAtLeast "13.2";

    cuda_nvcc = package "cuda_nvcc" compiler;
    cuda_cccl = package "cuda_cccl" [ "nvidia-cuda-cccl" ];
    cuda_cudart = package "cuda_cudart" [ "nvidia-cuda-runtime" ];
    cuda_cuobjdump = package "cuda_cuobjdump" [ "nvidia-cuda-cuobjdump" ];
    cuda_nvrtc = package "cuda_nvrtc" [ "nvidia-cuda-nvrtc" ];
    libcublas = package "libcublas" [ "nvidia-cublas" ];
    cudnn = package "cudnn" [ "nvidia-cudnn-cu13" ];
    nccl = package "nccl" [ "nvidia-nccl-cu13" ];
    cudatoolkit = package "cudatoolkit" (
      compiler
      ++ [
        "nvidia-cuda-runtime"
        "nvidia-cuda-cccl"
        "nvidia-cuda-cuobjdump"
      ]
    );
  }
)
