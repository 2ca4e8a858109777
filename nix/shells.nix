# `nix develop`: this library's own environment; `nix develop .#cpu`: a target's; `nix develop .#jetson`,
# of a target that compiles vLLM: what compiles it, so that `python setup.py bdist_wheel` works by hand.
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
  toCompile =
    name:
    let
      inherit (vllmPackages.${name}) vllm;
      isVariable = key: _: builtins.match "[A-Z][A-Z0-9_]*" key != null;
    in
    pkgs.mkShell (
      lib.filterAttrs isVariable vllm.drvAttrs
      // {
        inherit (vllm) memoryPerJob;
        inputsFrom = [ vllm ];
        packages = [ library ];
        shellHook = ''
          setMaxJobs
          ${vllm.preBuild}
        '';
      }
    );
in
lib.mapAttrs (
  name: target:
  if target.vllm.from == "source" && target.vllm.device == "cuda" then
    toCompile name
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
