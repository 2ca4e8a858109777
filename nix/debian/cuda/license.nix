# Type: lib -> String -> License
# Of one of nixpkgs' `cudaPackages`.
lib: pname:
{
  cudnn = lib.licenses.unfreeRedistributable;
  nccl = lib.licenses.bsd3;
}
.${pname} or lib.licenses.nvidiaCudaRedist
