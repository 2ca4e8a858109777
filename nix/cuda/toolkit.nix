# Type: Derivation
# One folder as CUDA_HOME of a build: the base's toolkit, with the libraries that PyTorch's builds look for in it.
# `libraries` are those that what is built here is linked with.
{
  cudaPackages,
  lib,
  runCommandCC,
  symlinkJoin,
}:
let
  libraries = [
    cudaPackages.cuda_cudart
    cudaPackages.cuda_cupti
    cudaPackages.cuda_nvrtc
    cudaPackages.cuda_nvtx
    cudaPackages.cudnn
    cudaPackages.libcublas
    cudaPackages.libcufft
    cudaPackages.libcurand
    cudaPackages.libcusolver
    cudaPackages.libcusparse
    cudaPackages.libnvjitlink
  ];
  stub = runCommandCC "libcuda-stub" { } (
    import ./libcuda-stub.nix "${lib.getInclude cudaPackages.cuda_cudart}/include" "$out/lib/stubs"
  );
in
symlinkJoin {
  name = "cuda-${cudaPackages.cudaMajorMinorVersion}";
  paths = [
    cudaPackages.cudatoolkit
    stub
  ]
  # nixpkgs has headers apart, and cudart's static library, which nvcc links with by default.
  ++ lib.concatMap (library: [
    (lib.getDev library)
    (lib.getInclude library)
    (lib.getLib library)
  ]) libraries
  ++ [ (lib.getOutput "static" cudaPackages.cuda_cudart) ];
  postBuild = "[[ -e $out/lib64 ]] || ln -s lib $out/lib64";
  passthru = { inherit libraries; };
}
