# { system, tree ? null } -> the scope of vllm-jetson on nix/debian, or on a tree with nixpkgs' shape.
{
  system,
  tree ? null,
}:
let
  overlays = [ (import ../../../overlays) ];
  pkgs = import (if tree == null then ../../../nix/debian else tree) {
    inherit system;
    config = { };
    overlays = if tree == null then overlays else overlays ++ [ (import ./stand-ins.nix) ];
  };
in
pkgs.vllmPackages.jetson
