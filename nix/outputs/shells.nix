# `nix develop`: for those who work on this repository; `nix develop .#cpu`: a target's environment; `nix develop
# .#jetson`, of a target that compiles vLLM: what compiles it.
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
      # neuron-ls, neuron-top, the runtime and its collectives
      ++ lib.optional (target ? neuron) vllmPackages.${target.name}.neuronSdk.tools
      ++ toolsOf target (vllmPackages.withDriver run);
    };

  # What a base lacks, nix/debian above all, is named and not missed: `make setup` has it, but for nixfmt.
  checkers = [
    "mypy"
    "nixfmt-tree"
    "ruff"
  ];
  isThere = name: (builtins.tryEval (pkgs.${name} or (throw name))).success;
  absent = lib.filter (name: !isThere name) checkers;
in
lib.mapAttrs (
  _: target:
  if target.vllm.from == "source" && target.vllm.device == "cuda" then
    vllmPackages.${target.name}.callPackage ./build-shell.nix { tools = toolsOf target (tool: tool); }
  else
    environment target
) ((import ../lib).lockedTargets system)
// {
  default = pkgs.mkShell {
    packages = [
      (vllmPackages.python.withPackages library.testDependencies)
      library
    ]
    ++ map (name: pkgs.${name}) (lib.filter isThere checkers);
    shellHook = ''
      export PYTHONPATH=$PWD/python/src''${PYTHONPATH:+:$PYTHONPATH}
    ''
    + lib.optionalString (absent != [ ]) ''
      echo "this base has no ${lib.concatStringsSep ", no " absent}: \`make setup\` puts ruff and mypy into .venv" >&2
    '';
  };
}
# poetry2nix asks for a fetcher that nixpkgs alone has.
// lib.optionalAttrs (pkgs ? fetchPypiLegacy) {
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
