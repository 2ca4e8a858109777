# Triton's wheel for a target. Its setup.py downloads LLVM, pybind11, JSON and NVIDIA's tools unless their
# variables are set; the tools are put where it would have, so that the wheel has them at run time. The
# compiler is the one of its LLVM.
{
  buildCudaWheel,
  compiledTag,
  cmakeForWheels,
  cudaPackages,
  fetchFromGitHub,
  lib,
  maxJobsHook,
  ninja,
  nlohmann_json,
  python,
  sourceRow,
  target,
  triton-llvm,
}:
let
  inherit (target.triton) version;
  row = sourceRow ./sources.toml "triton" version;
  toolkit = cudaPackages.cudatoolkit;
in
buildCudaWheel cudaPackages (
  {
    pname = "triton";
    inherit version;
    tag = compiledTag;
    src = fetchFromGitHub {
      owner = "triton-lang";
      repo = "triton";
      inherit (row) rev hash;
    };
    sourceRoot = "source/python";
    postUnpack = "chmod -R u+w source";
    build-system = [
      python.pkgs.pybind11
      python.pkgs.setuptools
      python.pkgs.wheel
    ];
    nativeBuildInputs = [
      cmakeForWheels
      maxJobsHook
      ninja
    ];
    memoryPerJob = "4 GiB";
    requiredSystemFeatures = [ "big-parallel" ];
    preBuild = ''
      export HOME=$TMPDIR # it makes ~/.triton, even to download nothing
      PYBIND11_SYSPATH=$(${python.interpreter} -c 'import pybind11; print(pybind11.get_include())')
      export PYBIND11_SYSPATH=''${PYBIND11_SYSPATH%/include}
      # CMake would fetch googletest for them.
      printf 'function(add_triton_ut)\nendfunction()\n' > ../unittest/CMakeLists.txt
      backend=../third_party/nvidia/backend
      mkdir -p $backend/bin $backend/include
      cp -L ${toolkit}/bin/{cuobjdump,nvdisasm,ptxas} $backend/bin/
      cp -rL ${toolkit}/include/. $backend/include/
    '';
    LLVM_SYSPATH = triton-llvm;
    JSON_SYSPATH = nlohmann_json;
    TRITON_BUILD_PROTON = "OFF"; # the profiler
    CMAKE_POLICY_VERSION_MINIMUM = "3.5";
    meta = {
      description = "Language and compiler for kernels of deep learning";
      homepage = "https://triton-lang.org";
      license = lib.licenses.mit;
    };
  }
  // lib.genAttrs [
    "TRITON_CUDACRT_PATH"
    "TRITON_CUDART_PATH"
    "TRITON_CUOBJDUMP_PATH"
    "TRITON_CUPTI_PATH"
    "TRITON_NVDISASM_PATH"
    "TRITON_PTXAS_PATH"
  ] (_: toolkit)
)
