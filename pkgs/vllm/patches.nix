# Type: String -> [ Replacement ]
# The replacements of one of the names that `vllm.patches` may have.
{ lib }:
let
  known = {
    hopper = import ./hopper.nix;
    neuron = import ./neuron;
    offline = import ./offline.nix;
    sm87 = import ./sm87.nix;
    verl = import ./verl.nix;
  };
in
name:
known.${name}
  or (throw "vllm has no patch '${name}'; there are: ${lib.concatStringsSep ", " (lib.attrNames known)}")
