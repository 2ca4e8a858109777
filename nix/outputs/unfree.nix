# `nix build .#vllm-neuron`, `nix develop .#neuron`: what nixpkgs does not evaluate unless unfree packages are
# allowed. In `legacyPackages`, so that `nix flake check` and Hydra leave it alone.
system: pkgs:
let
  inherit (pkgs) vllmPackages;
  names = builtins.attrNames ((import ../lib).unfreeTargets system);
in
builtins.listToAttrs (
  builtins.concatMap (name: [
    {
      name = "vllm-${name}";
      value = vllmPackages."vllm-${name}";
    }
    {
      inherit name;
      value = pkgs.mkShell {
        packages = [
          vllmPackages."vllm-${name}"
          vllmPackages.vllm-nix
          # neuron-ls, neuron-top, the runtime and its collectives
          vllmPackages.${name}.neuronSdk.tools
        ];
      };
    }
  ]) names
)
