# { system, tree ? null } -> nix/debian, or a tree with nixpkgs' shape, with the overlay.
{
  system,
  tree ? null,
}:
import (if tree == null then ../../../nix/debian else tree) {
  inherit system;
  config = { };
  overlays = [
    (import ../../../overlays)
  ]
  ++ (if tree == null then [ ] else [ (import ./stand-ins.nix) ]);
}
