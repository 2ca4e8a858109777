# A release of CUDA that this base lacks for a system: what needs it can be instantiated, and a build says
# so at once.
{
  lib,
  runCommandLocal,
  stdenv,
  data,
  sentence,
}:
lib.mapAttrs (
  name: _:
  runCommandLocal name
    {
      pname = name;
      meta.license = import ./license.nix lib name;
    }
    ''
      echo ${lib.escapeShellArg sentence} >&2
      exit 1
    ''
) data.packages
// {
  cudaVersion = data.release;
  cudaMajorMinorVersion = data.release;
  cudaMajorVersion = lib.versions.major data.release;
  cudaOlder = lib.versionOlder data.release;
  cudaAtLeast = lib.versionAtLeast data.release;
  backendStdenv = stdenv;
}
