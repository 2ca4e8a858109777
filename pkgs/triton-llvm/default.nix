# LLVM and MLIR at the commit that a Triton release is written against; no release of LLVM fits. g++ 15 finds no
# uint64_t in those before August 2024 (llvm-project#101761): CUDA's compiler is of their time.
{
  cmake,
  cudaPackages,
  fetchFromGitHub,
  lib,
  maxJobsHook,
  ninja,
  python,
  sourceRow,
  stdenv,
  target,
}:
let
  row = sourceRow ./sources.toml "triton-llvm" target.triton.version;
  native = if stdenv.hostPlatform.isAarch64 then "AArch64" else "X86";
in
(cudaPackages.backendStdenv or stdenv).mkDerivation {
  pname = "triton-llvm";
  version = "unstable-${lib.substring 0 8 row.rev}";
  src = fetchFromGitHub {
    owner = "llvm";
    repo = "llvm-project";
    inherit (row) rev hash;
  };
  sourceRoot = "source/llvm";
  nativeBuildInputs = [
    cmake
    maxJobsHook
    ninja
    python
  ];
  memoryPerJob = "2 GiB"; # to link one of its programs
  requiredSystemFeatures = [ "big-parallel" ];
  cmakeFlags = [
    "-DLLVM_ENABLE_PROJECTS=mlir;llvm"
    "-DLLVM_TARGETS_TO_BUILD=${native};NVPTX;AMDGPU" # Triton links with AMD's too
    "-DLLVM_ENABLE_ASSERTIONS=ON"
    "-DLLVM_INSTALL_UTILS=ON" # FileCheck, which Triton's CMake files look for
    "-DLLVM_INCLUDE_BENCHMARKS=OFF"
    "-DLLVM_INCLUDE_EXAMPLES=OFF"
    "-DLLVM_INCLUDE_TESTS=OFF"
  ]
  # Nothing of the builder's beside it: Triton links it into a wheel.
  ++ map (name: "-DLLVM_ENABLE_${name}=OFF") [
    "LIBEDIT"
    "LIBXML2"
    "TERMINFO"
    "ZLIB"
    "ZSTD"
  ];
  meta = {
    description = "LLVM and MLIR at the commit that Triton is written against";
    homepage = "https://llvm.org";
    license = [
      lib.licenses.asl20
      lib.licenses.llvm-exception
    ];
  };
}
