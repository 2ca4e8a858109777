# Type: { toolkit, capabilities, anyMinor ? false, ... } -> AttrSet
# The base's CUDA for a target's `cuda`: its toolkit, such as "12.6", or else the newest before it of the
# same major version that compiles for all capabilities; what it compiles runs on the toolkit's runtime
# (CUDA's minor version compatibility). With `anyMinor` a newer one too, for code beside a torch that has
# its runtime with it.
{
  lib,
  pkgs,
  stdenv,
}:
{
  toolkit,
  capabilities,
  anyMinor ? false,
  ...
}:
let
  inherit (import ../lib) cuda;
  nameOf = release: "cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] release}";
  releaseOf = name: lib.replaceStrings [ "cudaPackages_" "_" ] [ "" "." ] name;
  isRelease = name: builtins.match "cudaPackages_[0-9]+_[0-9]+" name != null;
  # nixpkgs keeps the name of a release that it has removed, and throws.
  isThere = release: (builtins.tryEval pkgs.${nameOf release}).success;

  major = lib.versions.major toolkit;
  isFit =
    release:
    lib.versions.major release == major
    && (anyMinor || lib.versionAtLeast toolkit release)
    && lib.all (cuda.canCompile release) capabilities;
  named = map releaseOf (lib.filter isRelease (lib.attrNames pkgs));
  fit = lib.filter isThere (lib.filter isFit named);
  newest = lib.last (lib.sort lib.versionOlder fit);
  packages = pkgs.${nameOf newest};

  # NVIDIA has CUDA 12 for aarch64 twice, for servers and for Jetson, and what was linked with the other fails
  # on the board. nixpkgs goes by config.cudaCapabilities (_cuda.lib.getRedistSystem), if not the user's, then
  # that of pkgsForCudaArch.
  isServers =
    stdenv.hostPlatform.isAarch64
    && lib.any cuda.isJetson capabilities
    && major == "12"
    && !(packages.flags.isJetsonBuild or true);
  jetson = pkgs._cuda.lib.mkRealArchitecture (lib.head capabilities);
in
if fit == [ ] then
  throw "this base has no CUDA ${
    if anyMinor then "${major}.x" else "${toolkit} nor an older ${major}.x"
  } that compiles for ${lib.concatStringsSep ", " capabilities}; it has: ${lib.concatStringsSep ", " (lib.filter isThere named)}"
else if !isServers then
  packages
else if pkgs ? pkgsForCudaArch then
  pkgs.pkgsForCudaArch.${jetson}.${nameOf newest}
else
  throw "this nixpkgs has the servers' CUDA ${newest}, which no Jetson runs; import it with config.cudaCapabilities = ${builtins.toJSON capabilities}"
