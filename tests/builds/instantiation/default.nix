# { system, tree ? null } -> the scope of vllm-jetson on nix/debian, or on a tree with nixpkgs' shape.
{
  system,
  tree ? null,
}:
let
  overlays = [ (import ../../../overlays) ];
  # The embedded base has CUDA 12.4 for x86_64 alone.
  isWhole = tree == null && system == "x86_64-linux";
  pkgs = import (if tree == null then ../../../nix/debian else tree) {
    inherit system;
    config = { };
    overlays = if isWhole then overlays else overlays ++ [ (import ./stand-ins.nix) ];
  };
in
pkgs.vllmPackages.jetson
