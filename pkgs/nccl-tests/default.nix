# NVIDIA's measurements of NCCL (all_reduce_perf and the others), for the target's capabilities.
{
  lib,
  cudaPackages,
  fetchFromGitHub,
  maxJobsHook,
  nccl,
  target,
}:
let
  inherit (import ../../nix/lib) cuda;
  inherit (cudaPackages)
    backendStdenv
    cuda_cudart
    cuda_nvcc
    ;
in
backendStdenv.mkDerivation {
  pname = "nccl-tests";
  version = "2.19.6";
  # Commit a0b82b2260cf5152b9f8c061bbf7eaf0ba096432; the hash was computed from its tree.
  src = fetchFromGitHub {
    owner = "NVIDIA";
    repo = "nccl-tests";
    tag = "v2.19.6";
    hash = "sha256-Dvqg5wRI/1ehZdLje5i7Yz0lhGdILUSIsEK7k9Cl46Q=";
  };
  nativeBuildInputs = [
    cuda_nvcc
    maxJobsHook
  ];
  buildInputs = [
    (cudaPackages.cccl or cudaPackages.cuda_cccl) # nixpkgs renamed it
    cuda_cudart
    (lib.getInclude cuda_nvcc)
    (lib.getDev nccl)
    (lib.getLib nccl)
  ]
  ++ lib.optional (cudaPackages ? cuda_crt && cudaPackages.cudaAtLeast "13.0") cudaPackages.cuda_crt;
  memoryPerJob = "1 GiB";
  makeFlags = [
    "CUDA_HOME=${lib.getBin cuda_nvcc}"
    "CUDA_LIB=${lib.getLib cuda_cudart}/lib"
    "CUDA_MAJOR=${lib.versions.major cudaPackages.cudaMajorMinorVersion}"
    "CUDA_MINOR=${lib.versions.minor cudaPackages.cudaMajorMinorVersion}"
  ];
  preBuild = ''
    makeFlagsArray+=("NVCC_GENCODE=${cuda.gencode target.cuda.capabilities}")
  '';
  enableParallelBuilding = true;
  installPhase = ''
    runHook preInstall
    install -D -t $out/bin build/*_perf
    runHook postInstall
  '';
  meta = {
    description = "Measurements of NCCL's collectives";
    homepage = "https://github.com/NVIDIA/nccl-tests";
    license = lib.licenses.bsd3;
    platforms = lib.platforms.linux;
  };
}
