# What the base promises, as derivations.
{ callPackage, cudaPackages_12_4 }:
{
  compile = callPackage ./compile { };
  cmake = callPackage ./cmake { };
  python = callPackage ./python { };
  mpi = callPackage ./mpi { };
  kernel = callPackage ./kernel { };
  kernel-cuda12 = callPackage ./kernel { cudaPackages = cudaPackages_12_4; };
}
