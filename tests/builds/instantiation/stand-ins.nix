# An overlay: nixpkgs' names where a tree is less than nixpkgs. Nothing can be built with them; what is
# instantiated shows which attributes the components ask for, and with which parameters.
#
# CUDA's have the outputs that nixpkgs' files give them (pkgs/development/cuda-modules/packages).
final: prev:
let
  inherit (final) lib;
  standIn =
    name: outputs:
    final.runCommand name {
      pname = name;
      inherit outputs;
    } "false";
  whole = [ "out" ];
  split = [
    "out"
    "dev"
    "include"
    "lib"
    "static"
  ];
  python = lib.genAttrs [
    "fsspec"
    "furo"
    "myst-parser"
    "networkx"
    "rich"
    "sphinx"
    "sphinx-argparse"
    "sympy"
  ] (name: standIn name whole);
  cudaPackages =
    release:
    lib.mapAttrs standIn (
      lib.genAttrs [
        "cuda_cccl"
        "cuda_crt"
        "cuda_nvcc"
        "cudatoolkit"
      ] (_: whole)
      // lib.genAttrs [
        "cuda_cudart"
        "cuda_cupti"
        "cuda_nvrtc"
        "cuda_nvtx"
        "cudnn"
        "libcublas"
        "libcufft"
        "libcurand"
        "libcusolver"
        "libcusparse"
        "libnvjitlink"
      ] (_: split)
    )
    // {
      backendStdenv = final.stdenv;
      cudaAtLeast = lib.versionAtLeast release;
      cudaMajorMinorVersion = release;
    };
in
{
  cudaPackages_12_6 =
    prev.cudaPackages_12_6 or (
      cudaPackages "12.6"
      // {
        cuda_crt = throw "nixpkgs has the name in every release, and the package from CUDA 13 on";
        # As if imported with config.cudaCapabilities = [ "8.7" ].
        flags.isJetsonBuild = final.stdenv.hostPlatform.isAarch64;
      }
    );
  cudaPackages_13_0 = prev.cudaPackages_13_0 or (cudaPackages "13.0");
  python311 = prev.python311 // {
    pkgs = python // prev.python311.pkgs;
    withPackages = choose: prev.python311.withPackages (packages: choose (python // packages));
  };
}
