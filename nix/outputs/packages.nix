# The flake's packages for one system: the targets whose wheels are locked for it, and the command. What may
# not be published is in unfree.nix.
system: pkgs:
builtins.listToAttrs (
  map
    (name: {
      inherit name;
      value = pkgs.vllmPackages.${name};
    })
    (
      [ "vllm-nix" ]
      ++ map (name: "vllm-${name}") (builtins.attrNames ((import ../lib).freeTargets system))
    )
)
