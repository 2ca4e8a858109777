# What the flake asks of nixpkgs, here a function that gives it back.
let
  outputs = (import ../../flake.nix).outputs {
    self = {
      lib = import ../../nix/lib;
      overlays.default = null;
    };
    nixpkgs = builtins.toFile "nixpkgs.nix" "arguments: { nixfmt = arguments.config; }";
    poetry2nix = null;
  };
in
{
  "CUDA, and on aarch64 Jetson's" = {
    expr = builtins.mapAttrs (
      _: config: removeAttrs config [ "allowUnfreePredicate" ]
    ) outputs.formatter;
    expected = {
      aarch64-linux = {
        cudaSupport = true;
        cudaCapabilities = [ "8.7" ];
      };
      x86_64-linux = {
        cudaSupport = true;
        cudaCapabilities = [ ];
      };
    };
  };
}
