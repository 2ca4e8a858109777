# Type: { release, patches ? [ ] } -> Derivation
# vLLM's source archive of a release as a folder, with a target's `vllm.patches` applied.
{
  lib,
  patchedSource,
  registrySource,
}:
let
  rows = (builtins.fromTOML (builtins.readFile ./sources.toml)).vllm;
  known = {
    neuron = import ./neuron.nix;
    sm87 = import ./sm87.nix;
  };
  patch =
    name:
    known.${name}
      or (throw "vllm has no patch '${name}'; there are: ${lib.concatStringsSep ", " (lib.attrNames known)}");
in
{
  release,
  patches ? [ ],
}:
patchedSource {
  pname = "vllm";
  version = release;
  src = registrySource {
    inherit rows;
    pname = "vllm";
    version = release;
  };
  replacements = lib.concatMap patch patches;
}
