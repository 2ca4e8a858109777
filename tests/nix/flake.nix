# What the flake asks of nixpkgs, here a function that gives it back.
let
  outputs = (import ../../flake.nix).outputs {
    self = {
      lib = import ../../nix/lib;
      overlays.default = null;
    };
    nixpkgs = ./nixpkgs;
    poetry2nix = null;
  };
in
{
  "CUDA, and no target's capabilities" = {
    expr = builtins.mapAttrs (
      _: config: removeAttrs config [ "allowUnfreePredicate" ]
    ) outputs.formatter;
    expected = {
      aarch64-linux.cudaSupport = true;
      x86_64-linux.cudaSupport = true;
    };
  };
  "the names of packages need none" = {
    expr = builtins.elem "vllm-neuron" (builtins.attrNames outputs.packages.x86_64-linux);
    expected = true;
  };
}
