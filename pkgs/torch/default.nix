# PyTorch's wheel for a target, from source, with the switches of target.torch.env. It is imported when it
# is built, and refused unless it has what the target names: a torch without NCCL or for other
# architectures is built without a word of warning.
{
  buildCudaWheel,
  compiledTag,
  cmakeForWheels,
  cudaToolkit,
  cudaPackages,
  fetchFromGitHub,
  lib,
  maxJobsHook,
  nccl,
  ninja,
  numactl,
  openblas,
  python,
  sourceRow,
  target,
}:
let
  inherit (import ../../nix/lib) cuda;
  release = target.torch.version;
  number = target.torch.build-number or 1;
  version = release + lib.optionalString (number > 1) ".post${toString number}"; # tools/generate_torch_version.py

  # torch calls BLAS with 32-bit integers; nixpkgs' OpenBLAS takes 64-bit ones on x86_64.
  blas = if openblas.blas64 or false then openblas.override { blas64 = false; } else openblas;
  wantsNccl = lib.elem "nccl" target.torch.distributed;
  libraries =
    cudaToolkit.libraries
    ++ [
      blas
      numactl
    ]
    ++ lib.optional wantsNccl nccl;

  check = [
    "--version=${version}"
    "--distributed=${lib.concatStringsSep "," target.torch.distributed}"
    "--archs=${lib.concatMapStringsSep "," cuda.sm target.cuda.capabilities}"
  ]
  ++ lib.optional wantsNccl "--nccl=${target.nccl.version}"
  ++ lib.optional (target.torch.env.USE_PYTORCH_QNNPACK or "1" == "0") "--without-qnnpack";
in
buildCudaWheel cudaPackages (
  {
    pname = "torch";
    inherit version;
    tag = compiledTag;
    src = fetchFromGitHub {
      owner = "pytorch";
      repo = "pytorch";
      rev = "v${release}";
      fetchSubmodules = true;
      hash = sourceRow ./sources.toml "torch" release;
    };
    build-system = [
      python.pkgs.numpy
      python.pkgs.packaging
      python.pkgs.pyyaml
      python.pkgs.setuptools
      python.pkgs.typing-extensions
      python.pkgs.wheel
    ];
    nativeBuildInputs = [
      cmakeForWheels
      cudaToolkit
      maxJobsHook
      ninja
    ]
    ++ import ./imports.nix python.pkgs;
    buildInputs = libraries;
    memoryPerJob = target.build.memory-per-job or null;
    requiredSystemFeatures = [ "big-parallel" ];
    passthru = { inherit libraries; };
    meta = {
      description = "Tensors and neural networks in Python, with GPU acceleration";
      homepage = "https://pytorch.org";
      license = lib.licenses.bsd3;
      timeout = 48 * 3600; # Hydra ends a build after ten hours, unless this says more
    };

    BUILD_TEST = "0";
    BLAS = "OpenBLAS";
    CMAKE_PREFIX_PATH = lib.concatStringsSep ":" (
      lib.concatMap (library: [
        (lib.getDev library)
        (lib.getInclude library)
        (lib.getLib library)
      ]) libraries
    );
    CUDA_HOME = cudaToolkit;
    CUDNN_INCLUDE_DIR = "${lib.getInclude cudaPackages.cudnn}/include";
    CUDNN_LIB_DIR = "${lib.getLib cudaPackages.cudnn}/lib";
    # Its submodules ask for less than what CMake 4 still knows.
    CMAKE_POLICY_VERSION_MINIMUM = "3.5";
    # "No SVE support on this machine": Orin's processors have none either.
    BUILD_IGNORE_SVE_UNAVAILABLE = "1";

    doInstallCheck = true;
    installCheckPhase = ''
      runHook preInstallCheck
      ${python.interpreter} -m zipfile -e $out site
      PYTHONPATH=$PWD/site:$PYTHONPATH LD_LIBRARY_PATH=${lib.makeLibraryPath libraries} \
        ${python.interpreter} ${./check.py} ${lib.escapeShellArgs check}
      runHook postInstallCheck
    '';
  }
  // removeAttrs target.environment [ "VLLM_TARGET_DEVICE" ]
  // lib.optionalAttrs wantsNccl {
    NCCL_ROOT_DIR = lib.getDev nccl;
    NCCL_INCLUDE_DIR = "${lib.getDev nccl}/include";
    NCCL_LIB_DIR = "${lib.getLib nccl}/lib";
  }
)
