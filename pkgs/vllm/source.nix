# Type: { release, patches ? [ ], replacements ? [ ] } -> Derivation
# vLLM's source archive of a release as a folder, with a target's `vllm.patches` applied.
{
  lib,
  patchedSource,
  registrySource,
}:
{
  release,
  patches ? [ ],
  replacements ? [ ],
}:
patchedSource {
  pname = "vllm";
  version = release;
  src = registrySource {
    pname = "vllm";
    version = release;
    sources = ./sources.toml;
  };
  replacements = lib.concatMap (import ./patches.nix { inherit lib; }) patches ++ replacements;
}
