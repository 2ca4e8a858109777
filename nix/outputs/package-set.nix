# Type: { nixpkgs, overlay } -> String -> AttrSet
# nixpkgs, or what stands in its place, for a system: with CUDA, and with the unfree licences of what targets
# are made of. Whoever builds `.#vllm-neuron` has asked for AWS's; Hydra builds none of them (./hydra.nix).
{ nixpkgs, overlay }:
system:
let
  known = map (license: license.shortName) (import ../wheels/licenses.nix).unfree;
  isKnown = license: license.free or false || builtins.elem (license.shortName or "") known;
  licenses = package: pkgs.lib.toList package.meta.license;
  pkgs = import nixpkgs {
    inherit system;
    overlays = [ overlay ];
    config = {
      cudaSupport = true;
      allowUnfreePredicate =
        package: builtins.all isKnown (licenses package) || pkgs._cuda.lib.allowUnfreeCudaPredicate package;
    };
  };
in
pkgs
