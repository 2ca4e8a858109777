# flash-attention's wheel (https://github.com/Dao-AILab/flash-attention), which verl's training imports;
# the registry has its source archive alone. It is compiled against the torch of the target's
# locked wheels, 84 kernels: hours on a few cores.
{
  buildCudaWheel,
  compiledTag,
  buildWheel,
  cudaPackages,
  lib,
  maxJobsHook,
  ninja,
  python,
  registrySource,
  target,
  torchForBuild,
}:
let
  inherit (import ../../nix/lib) cuda;
  inherit (target.flash-attn) version;
  # A feature in each kernel is a kernel with it and one without. A call that asks for one that is disabled
  # ends with "This flash attention build does not support".
  defines = lib.concatMapStringsSep " " (
    feature: "-DFLASHATTENTION_DISABLE_${lib.toUpper (lib.replaceStrings [ "-" ] [ "_" ] feature)}"
  ) target.flash-attn.disable or [ ];
  # It compiles for 8.0 always, whose code all of 8.x runs (Orin from CUDA 13.2 on), and for the newer ones
  # on demand.
  isNewer = capability: lib.versionAtLeast capability "9.0";
  newer = lib.filter isNewer target.cuda.capabilities;
  common = {
    pname = "flash-attn";
    inherit version;
    tag = compiledTag;
    src = registrySource {
      inherit version;
      pname = "flash-attn";
      sources = ./sources.toml;
    };
    meta = {
      description = "Exact attention, fast and with little memory";
      homepage = "https://github.com/Dao-AILab/flash-attention";
      license = lib.licenses.bsd3;
      timeout = 48 * 3600; # Hydra ends a build after ten hours, unless this says more
    };
  };
  build-system = [
    python.pkgs.packaging
    python.pkgs.setuptools
    python.pkgs.wheel
  ];
  # What it requires is known without the torch of a lock, which may be the one that is to be written anew.
  beforeTorch = buildWheel (
    common
    // {
      inherit build-system;
      FLASH_ATTENTION_SKIP_CUDA_BUILD = "TRUE";
      preBuild = ''
        mkdir -p names/torch/utils
        echo 'BuildExtension = CppExtension = CUDAExtension = CUDA_HOME = ROCM_HOME = IS_HIP_EXTENSION = object' \
          > names/torch/utils/cpp_extension.py
        export PYTHONPATH=$PWD/names:$PYTHONPATH
      '';
    }
  );
in
buildCudaWheel cudaPackages (
  common
  // {
    nativeBuildInputs = [
      cudaPackages.cudatoolkit
      maxJobsHook
      ninja
    ];
    # And no more of the environment: targets with the same torch share the wheel.
    build-system = build-system ++ torchForBuild;
    CUDA_HOME = cudaPackages.cudatoolkit;
    FLASH_ATTENTION_FORCE_BUILD = "TRUE"; # or it looks for a wheel on the network
    FLASH_ATTN_CUDA_ARCHS = cuda.archNumbers ([ "8.0" ] ++ newer);
    CPPFLAGS = defines;
    NVCC_APPEND_FLAGS = defines;
    memoryPerJob = target.build.memory-per-job or null;
    passthru = { inherit (beforeTorch) metadata; };
  }
)
