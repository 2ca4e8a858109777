# What the base promises, as derivations.
{ callPackage }:
{
  compile = callPackage ./compile { };
  cmake = callPackage ./cmake { };
  python = callPackage ./python { };
  mpi = callPackage ./mpi { };
  kernel = callPackage ./kernel { };
}
