# An overlay: nixpkgs' names where a tree is less than nixpkgs. Nothing can be built with them; what is
# instantiated shows which attributes the components ask for, and with which parameters.
final: prev:
let
  inherit (final) lib;
  standIn = name: final.runCommand name { pname = name; } "false";
  python = lib.genAttrs [
    "fsspec"
    "networkx"
    "sympy"
  ] standIn;
in
{
  cudaPackages_12_6 =
    lib.genAttrs [
      "cuda_cccl"
      "cuda_cudart"
      "cuda_cuobjdump"
      "cuda_cupti"
      "cuda_nvcc"
      "cuda_nvrtc"
      "cuda_nvtx"
      "cudatoolkit"
      "cudnn"
      "libcublas"
      "libcufft"
      "libcurand"
      "libcusolver"
      "libcusparse"
      "libnvjitlink"
    ] standIn
    // {
      backendStdenv = final.stdenv;
      cudaMajorMinorVersion = "12.6";
    };
  python311 = prev.python311 // {
    pkgs = python // prev.python311.pkgs;
  };
}
