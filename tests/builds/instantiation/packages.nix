# { system, tree ? null } -> nix/debian, or a tree with nixpkgs' shape, with the overlay. A tree with CUDA is
# asked for it as flake.nix does, one without gets stand-ins.
{
  system,
  tree ? null,
}:
import (if tree == null then ../../../nix/debian else tree) {
  inherit system;
  config =
    if tree != null && builtins.pathExists (tree + "/pkgs/development/cuda-modules") then
      {
        allowUnfree = true;
        cudaSupport = true;
        cudaCapabilities = if system == "aarch64-linux" then [ "8.7" ] else [ ];
      }
    else
      { };
  overlays = [
    (import ../../../overlays)
  ]
  ++ (if tree == null then [ ] else [ (import ./stand-ins.nix) ]);
}
