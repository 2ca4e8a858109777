# Type: String -> [ Replacement ]
# The replacements of a patch: a name that `vllm.patches` may have, or one that a build takes by itself.
{ lib }:
let
  known = {
    hopper = import ./hopper.nix;
    neuron = import ./neuron;
    offline = import ./offline.nix;
    sm87 = lib.filter (row: row ? file) (import ./sm87.nix);
    verl = import ./verl.nix;
  };
in
name:
known.${name}
  or (throw "vllm has no patch '${name}'; there are: ${lib.concatStringsSep ", " (lib.attrNames known)}")
