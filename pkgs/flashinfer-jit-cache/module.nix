# Type: String -> [ String ] -> Derivation
# One of FlashInfer's modules, compiled for the target's capabilities by the FlashInfer and the nvcc of its own
# wheels; of attention for each of the given backends. It depends on no other wheel than these and torch's, so that a new vLLM alone compiles nothing anew.
{
  cudaHome,
  cudaPackagesForTorch,
  lib,
  libNoBinSh ? null, # for a base whose sandbox has no /bin/sh, which nvcc starts
  lockedWheels,
  maxJobsHook,
  ninja,
  patchelf,
  python,
  stdenv,
  target,
  torchForBuild,
}:
module: backends:
let
  # What `import flashinfer` imports, beside torch.
  imported = [
    "apache-tvm-ffi"
    "certifi"
    "charset-normalizer"
    "click"
    "cuda-bindings"
    "cuda-core"
    "cuda-pathfinder"
    "cuda-tile"
    "einops"
    "flashinfer-python"
    "idna"
    "numpy"
    "nvidia-ml-py"
    "packaging"
    "requests"
    "tabulate"
    "tqdm"
    "urllib3"
  ];
in
(cudaPackagesForTorch.backendStdenv or stdenv).mkDerivation {
  name = "flashinfer-${module}-for-${lib.concatStringsSep "-" target.cuda.capabilities}";
  nativeBuildInputs = [
    maxJobsHook
    ninja
    patchelf
    python
  ]
  ++ torchForBuild
  ++ lib.filter (wheel: lib.elem wheel.pname imported) lockedWheels;
  memoryPerJob = "2 GiB"; # `sampling` takes 974 MiB
  requiredSystemFeatures = [ "big-parallel" ];
  CUDA_HOME = cudaHome lockedWheels;
  FLASHINFER_CUDA_ARCH_LIST = lib.concatStringsSep " " target.cuda.capabilities;
  passthru = { inherit backends; };
  dontUnpack = true;
  # setMaxJobs is all that there is to configure.
  configurePhase = ''
    runHook preConfigure
    runHook postConfigure
  '';
  buildPhase = ''
    export HOME=$PWD FLASHINFER_WORKSPACE_BASE=$PWD
    ${lib.optionalString (libNoBinSh != null) "export LD_PRELOAD=${libNoBinSh}/lib/libno-bin-sh.so"}
    ${python.interpreter} ${./compile.py} built ${module} ${toString backends}
  '';
  # CUDA's runtime lies in site-packages beside the wheel; the base's libraries, nix/wheels/unpack adds.
  installPhase = ''
    patchelf --set-rpath '$ORIGIN/../../../nvidia/cu${lib.versions.major target.cuda.toolkit}/lib' built/*/*.so
    cp --recursive built $out
  '';
  dontFixup = true;
}
