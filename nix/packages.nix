# The flake's packages for one system: the targets whose wheels are locked for it, and the command.
system: pkgs:
builtins.listToAttrs (
  map
    (name: {
      inherit name;
      value = pkgs.vllmPackages.${name};
    })
    (
      [ "vllm-nix" ]
      ++ map (name: "vllm-${name}") (builtins.attrNames ((import ./lib).lockedTargets system))
    )
)
