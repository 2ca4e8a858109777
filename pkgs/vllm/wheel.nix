# Type: { wheel = { name, version, file, src, ... }, patches } -> Path
# vLLM's released wheel with a target's `vllm.patches` applied to its Python files. That is what
# VLLM_USE_PRECOMPILED makes, binaries of a wheel around patched sources, without its guess at which
# wheel belongs to the sources: here both are one release's.
{ lib, patchedWheel }:
{ wheel, patches }:
let
  label = lib.concatStringsSep "." patches;
in
patchedWheel {
  inherit wheel label;
  replacements = lib.concatMap (import ./patches.nix { inherit lib; }) patches ++ [
    {
      file = "vllm/_version.py";
      old = "'${wheel.version}'";
      new = "'${wheel.version}+${label}'";
    }
  ];
}
