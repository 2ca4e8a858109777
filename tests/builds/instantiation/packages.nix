# { system, tree ? null } -> nix/debian, or a tree with nixpkgs' shape, with the overlay. A tree with CUDA is
# asked for it as flake.nix does, one without gets stand-ins.
{
  system,
  tree ? null,
}:
let
  hasCuda = tree != null && builtins.pathExists (tree + "/pkgs/development/cuda-modules");
in
import (if tree == null then ../../../nix/debian else tree) {
  inherit system;
  config =
    (if tree == null then { } else { allowUnfree = true; })
    // (if hasCuda then { cudaSupport = true; } else { });
  overlays = [
    (import ../../../overlays)
  ]
  ++ (if tree == null then [ ] else [ (import ./stand-ins.nix) ]);
}
