# Type: String -> AttrSet
# The base's CUDA for a target's toolkit, such as "12.6": that release, or else the newest before it of
# the same major version, whose binaries run on it (CUDA's minor version compatibility).
{ lib, pkgs }:
toolkit:
let
  releaseOf = name: lib.replaceStrings [ "cudaPackages_" "_" ] [ "" "." ] name;
  major = lib.versions.major toolkit;
  has = lib.filter (release: lib.versions.major release == major) (
    map releaseOf (lib.filter (lib.hasPrefix "cudaPackages_${major}_") (lib.attrNames pkgs))
  );
  fit = lib.filter (release: lib.versionAtLeast toolkit release) has;
  newest = lib.last (lib.sort lib.versionOlder fit);
in
if fit == [ ] then
  throw "this base has no CUDA ${toolkit}, nor an older ${major}.x; it has: ${lib.concatStringsSep ", " has}"
else
  pkgs."cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] newest}"
