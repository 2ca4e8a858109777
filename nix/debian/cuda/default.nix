# One release of CUDA under nixpkgs' names, from the registry's wheels and Debian's packages: the data's
# `release`, `packages` and `needs`. `cudatoolkit` is what compiling needs in one folder: CUDA_HOME.
{
  lib,
  newScope,
  stdenv,
  data,
  archives,
}:
lib.makeScope newScope (
  self:
  let
    redist = self.callPackage ./redist.nix { };
    package =
      pname: from:
      redist {
        inherit pname;
        archives = map (name: archives.${name}) from;
        needs = map (name: self.${name}) (data.needs.${pname} or [ ]);
      };
  in
  {
    backendStdenv = stdenv; # g++ 12 suits both releases
    cudaVersion = data.release;
    cudaMajorMinorVersion = data.release;
    cudaMajorVersion = lib.versions.major data.release;
    cudaOlder = lib.versionOlder data.release;
    cudaAtLeast = lib.versionAtLeast data.release;
  }
  // lib.mapAttrs package data.packages
)
