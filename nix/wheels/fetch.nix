# Type: { target, index } -> { name, file, sha256, ... } -> Path
# A wheel's file. The embedded base never downloads: `vllm-nix fetch` adds the file. On nixpkgs
# the registry's own address is tried, or the index that the target names. The hash is the same, so
# is the store path.
{
  providedFile ? null,
  fetchPypi,
  fetchurl,
  lib,
  stdenv,
}:
{ target, index }:
{
  name,
  file,
  sha256,
  ...
}:
let
  parts = lib.splitString "-" (lib.removeSuffix ".whl" file);
  fromEnd = n: builtins.elemAt parts (builtins.length parts - n);
in
if providedFile != null then
  providedFile {
    inherit sha256;
    name = file;
    sentence = "not in the store; run: vllm-nix fetch ${target} --system ${stdenv.hostPlatform.system}";
  }
else if index ? ${name} then
  fetchurl {
    inherit sha256;
    name = file;
    url = "${index.${name}}/${lib.replaceStrings [ "+" ] [ "%2B" ] file}";
  }
else
  fetchPypi {
    inherit sha256;
    format = "wheel";
    pname = builtins.head parts;
    # with the build tag, where there is one
    version = lib.concatStringsSep "-" (
      builtins.genList (i: builtins.elemAt parts (i + 1)) (builtins.length parts - 4)
    );
    dist = fromEnd 3;
    python = fromEnd 3;
    abi = fromEnd 2;
    platform = fromEnd 1;
  }
