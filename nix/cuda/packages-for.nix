# Type: { toolkit, capabilities, ... } -> AttrSet
# The base's CUDA for a target's `cuda`: its toolkit, such as "12.6", or else the newest before it of the
# same major version that compiles for all capabilities; what it compiles runs on the toolkit's runtime
# (CUDA's minor version compatibility).
{
  lib,
  pkgs,
  stdenv,
}:
{ toolkit, capabilities, ... }:
let
  inherit (import ../lib) canCompile isIntegratedGpu;
  releaseOf = name: lib.replaceStrings [ "cudaPackages_" "_" ] [ "" "." ] name;
  major = lib.versions.major toolkit;
  isRelease = name: builtins.match "cudaPackages_[0-9]+_[0-9]+" name != null;
  has = map releaseOf (lib.filter isRelease (lib.attrNames pkgs));
  isFit =
    release:
    lib.versions.major release == major
    && lib.versionAtLeast toolkit release
    && lib.all (canCompile release) capabilities;
  fit = lib.filter isFit has;
  newest = lib.last (lib.sort lib.versionOlder fit);
  packages = pkgs."cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] newest}";
  # NVIDIA has CUDA 12 for aarch64 twice, for servers and for Jetson; nixpkgs goes by its own configuration
  # alone (_cuda.lib.getRedistSystem), and what was linked with the other fails on the board.
  needsJetsons =
    stdenv.hostPlatform.isAarch64 && lib.any isIntegratedGpu capabilities && major == "12";
in
if fit == [ ] then
  throw "this base has no CUDA ${toolkit} nor an older ${major}.x that compiles for ${lib.concatStringsSep ", " capabilities}; it has: ${lib.concatStringsSep ", " has}"
else if needsJetsons && !(packages.flags.isJetsonBuild or true) then
  throw "this nixpkgs has the servers' CUDA ${newest}, which no Jetson runs; import it with config.cudaCapabilities = ${builtins.toJSON capabilities}"
else
  packages
