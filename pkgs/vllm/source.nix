# Type: { release, patches ? [ ], replacements ? [ ] } -> Derivation
# vLLM's source archive of a release as a folder, with a target's `vllm.patches` applied.
{
  lib,
  patchedSource,
  registrySource,
}:
let
  rows = (builtins.fromTOML (builtins.readFile ./sources.toml)).vllm;
in
{
  release,
  patches ? [ ],
  replacements ? [ ],
}:
patchedSource {
  pname = "vllm";
  version = release;
  src = registrySource {
    inherit rows;
    pname = "vllm";
    version = release;
  };
  replacements = lib.concatMap (import ./patches.nix { inherit lib; }) patches ++ replacements;
}
