# { tree ? null } -> all that the flake has of targets, on both systems: their packages and components.
{
  tree ? null,
}:
let
  inherit (builtins) attrValues concatMap;
  of =
    system:
    let
      pkgs = import ./packages.nix { inherit system tree; };
      packages = import ../../../nix/outputs/packages.nix system pkgs;
      components = import ../../../nix/outputs/components.nix system pkgs;
    in
    attrValues packages ++ concatMap attrValues (attrValues components);
in
concatMap of [
  "aarch64-linux"
  "x86_64-linux"
]
