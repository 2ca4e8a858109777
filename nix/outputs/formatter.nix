# Type: AttrSet -> AttrSet
# `nix fmt` for each system whose packages have nixpkgs' formatter of whole trees.
packages:
builtins.listToAttrs (
  builtins.concatMap (
    system:
    let
      value = packages.${system}.nixfmt-tree or null;
    in
    if value == null then
      [ ]
    else
      [
        {
          name = system;
          inherit value;
        }
      ]
  ) (builtins.attrNames packages)
)
