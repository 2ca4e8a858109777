# What compute capabilities mean to nvcc and to NCCL.
let
  lib = import ../../nix/lib;
in
{
  "code for each capability, and no PTX" = {
    expr = lib.gencode [
      "8.7"
      "11.0"
    ];
    expected = "-gencode=arch=compute_87,code=sm_87 -gencode=arch=compute_110,code=sm_110";
  };
  "Jetson's GPU is no PCI device before Thor" = {
    expr = map lib.isIntegratedGpu [
      "7.2"
      "8.6"
      "8.7"
      "11.0"
      "12.0"
    ];
    expected = [
      true
      false
      true
      false
      false
    ];
  };
}
