# Type: { toolkit, capabilities, ... } -> AttrSet
# The base's CUDA for a target's `cuda`: its toolkit, such as "12.6", or else the newest before it of the
# same major version, whose binaries run on it (CUDA's minor version compatibility).
{
  lib,
  pkgs,
  stdenv,
}:
{ toolkit, capabilities, ... }:
let
  inherit (import ./lib) isIntegratedGpu;
  releaseOf = name: lib.replaceStrings [ "cudaPackages_" "_" ] [ "" "." ] name;
  major = lib.versions.major toolkit;
  has = lib.filter (release: lib.versions.major release == major) (
    map releaseOf (lib.filter (lib.hasPrefix "cudaPackages_${major}_") (lib.attrNames pkgs))
  );
  fit = lib.filter (release: lib.versionAtLeast toolkit release) has;
  newest = lib.last (lib.sort lib.versionOlder fit);
  packages = pkgs."cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] newest}";
  # NVIDIA has CUDA 12 for aarch64 twice, for servers and for Jetson; nixpkgs goes by its own configuration
  # alone (_cuda.lib.getRedistSystem), and what was linked with the other fails on the board.
  needsJetsons =
    stdenv.hostPlatform.isAarch64 && lib.any isIntegratedGpu capabilities && major == "12";
in
if fit == [ ] then
  throw "this base has no CUDA ${toolkit}, nor an older ${major}.x; it has: ${lib.concatStringsSep ", " has}"
else if needsJetsons && !(packages.flags.isJetsonBuild or true) then
  throw "this nixpkgs has the servers' CUDA ${newest}, which no Jetson runs; import it with config.cudaCapabilities = ${builtins.toJSON capabilities}"
else
  packages
