# `nix develop`: this library's own environment; `nix develop .#cpu`: a target's; `nix develop .#jetson`,
# of a target that compiles vLLM: what compiles it.
{ poetry2nix }:
system: pkgs:
let
  inherit (pkgs) lib vllmPackages;
  library = vllmPackages.vllm-nix;
  environment =
    name:
    pkgs.mkShell {
      packages = [
        vllmPackages."vllm-${name}"
        library
      ];
    };
in
lib.mapAttrs (
  name: target:
  if target.vllm.from == "source" && target.vllm.device == "cuda" then
    vllmPackages.${name}.callPackage ./build-shell.nix { }
  else
    environment name
) ((import ./lib).lockedTargets system)
// {
  default = pkgs.mkShell {
    inputsFrom = [ library ];
    packages = [
      vllmPackages.python.pkgs.pytest
      library
    ];
  };
}
# The embedded base brings every file by hand; poetry2nix's own is not among them.
// lib.optionalAttrs (!pkgs ? bringFile) {
  poetry =
    let
      poetry = import poetry2nix { inherit pkgs; };
    in
    poetry.mkPoetryEnv {
      projectDir = ../python;
      inherit (vllmPackages) python;
      groups = [ "dev" ];
      preferWheels = true;
    };
}
