# NVIDIA's collectives with code for the target's capabilities and nothing else. nixpkgs has no NCCL for
# Jetson before Thor: no NVLink, no PCIe between its GPUs. PyTorch then leaves out its backend, and whatever
# asks for "nccl" fails, on one GPU as well.
{
  lib,
  providedFile ? null,
  cudaPackages,
  fetchFromGitHub,
  maxJobsHook,
  patchedSource,
  python,
  sourceRow,
  target,

  version ? target.nccl.version,
  # A regular expression of functions to compile, such as "AllReduce Sum f32 RING LL"; all otherwise.
  onlyFunctions ? "",
}:
let
  inherit (import ../../nix/lib) cuda;
  inherit (cudaPackages)
    backendStdenv
    cuda_cudart
    cuda_nvcc
    ;
  inherit (target.cuda) capabilities;
  release = lib.head (lib.splitString "-" version);

  row = sourceRow ./sources.toml "nccl" version;
  src =
    if providedFile != null && row ? archive then
      providedFile {
        name = row.archive;
        sha256 = row.archive-sha256;
        sentence = "not in the store; with Debian 13's sources, apt-get source --download-only nvidia-nccl, then: nix-store --add-fixed sha256 ${row.archive}";
      }
    else
      fetchFromGitHub {
        owner = "NVIDIA";
        repo = "nccl";
        tag = "v${version}";
        inherit (row) hash;
      };

  flags = cuda.gencode capabilities;
in
backendStdenv.mkDerivation {
  pname = "nccl";
  version = release;
  src = patchedSource {
    pname = "nccl";
    version = release;
    inherit src;
    replacements = lib.optionals (!lib.all cuda.isPci capabilities) (import ./integrated-gpu.nix);
  };
  outputs = [
    "out"
    "dev"
    "static"
  ];

  # The sandbox has neither env nor, on every base, which.
  postPatch = ''
    substituteInPlace src/device/Makefile \
      --replace-fail "SHELL := /usr/bin/env bash" "" \
      --replace-fail "(which python3" "(command -v python3"
    for script in src/device/generate.py src/device/symmetric/generate.py; do
      if [[ -e $script ]]; then
        substituteInPlace $script --replace-fail "/usr/bin/env python3" ${python.interpreter}
      fi
    done
  '';

  nativeBuildInputs = [
    cuda_nvcc
    maxJobsHook
    python
  ];
  buildInputs = [
    (cudaPackages.cccl or cudaPackages.cuda_cccl) # nixpkgs renamed it
    cuda_cudart
    (lib.getInclude cuda_nvcc) # crt/host_config.h; from CUDA 13 on nixpkgs has it apart
  ]
  ++ lib.optional (cudaPackages ? cuda_crt && cudaPackages.cudaAtLeast "13.0") cudaPackages.cuda_crt;
  memoryPerJob = "1 GiB"; # measured: 0.2 GiB, for the sums of all algorithms over floats
  env.ONLY_FUNCS = onlyFunctions;
  makeFlags = [
    "CUDA_HOME=${lib.getBin cuda_nvcc}"
    "CUDA_INC=${lib.getInclude cuda_cudart}/include"
    "CUDA_LIB=${lib.getLib cuda_cudart}/lib"
    "CUDA_MAJOR=${lib.versions.major cudaPackages.cudaMajorMinorVersion}"
    "CUDA_MINOR=${lib.versions.minor cudaPackages.cudaMajorMinorVersion}"
    "CUDARTLIB=cudart" # PyTorch loads that library anyway
    "PREFIX=$(out)"
  ];
  # Kernels for multicast on Blackwell are compiled for sm_100, or nvcc's own default, whoever wants it.
  preBuild = ''
    makeFlagsArray+=("NVCC_GENCODE=${flags}")
  ''
  + lib.optionalString (lib.all (capability: lib.versionOlder capability "10.0") capabilities) ''
    makeFlagsArray+=("NVCC_GENCODE_LDMC_FP8=${flags}")
  '';
  enableParallelBuilding = true;
  buildFlags = [ "src.build" ];
  installTargets = [ "src.install" ];
  postInstall = ''
    moveToOutput include "$dev"
    moveToOutput lib/pkgconfig "$dev"
    moveToOutput lib/libnccl_static.a "$static"
  '';
  meta = {
    description = "Collective communication between NVIDIA's GPUs";
    homepage = "https://developer.nvidia.com/nccl";
    license = lib.licenses.bsd3;
    platforms = lib.platforms.linux;
  };
}
