# `nix develop`: this library's own environment; `nix develop .#cpu`: a target's; `nix develop .#jetson`,
# of a target that compiles vLLM: what compiles it.
{ poetry2nix }:
system: pkgs:
let
  inherit (pkgs) lib vllmPackages;
  library = vllmPackages.vllm-nix;
  # `start` is for the target's own components, which need the driver.
  toolsOf =
    target: start:
    let
      scope = vllmPackages.${target.name};
    in
    map (tool: if scope ? ${tool} then start scope.${tool} else pkgs.${tool}) (
      target.shell.tools or [ ]
    );
  environment =
    target:
    let
      run = vllmPackages."vllm-${target.name}";
    in
    pkgs.mkShell {
      packages = [
        run
        library
      ]
      ++ toolsOf target (vllmPackages.withDriver run);
    };
in
lib.mapAttrs (
  _: target:
  if target.vllm.from == "source" && target.vllm.device == "cuda" then
    vllmPackages.${target.name}.callPackage ./build-shell.nix { tools = toolsOf target (tool: tool); }
  else
    environment target
) ((import ../lib).freeTargets system)
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
      projectDir = ../../python;
      inherit (vllmPackages) python;
      groups = [ "dev" ];
      preferWheels = true;
    };
}
