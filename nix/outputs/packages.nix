# The flake's packages for one system: the command, its documents as a site, and the targets whose wheels are
# locked for it.
system: pkgs:
let
  inherit (pkgs) vllmPackages;
  targets = builtins.attrNames ((import ../lib).lockedTargets system);
in
builtins.listToAttrs (
  map (name: {
    inherit name;
    value = vllmPackages.${name};
  }) ([ "vllm-nix" ] ++ map (name: "vllm-${name}") targets)
)
// {
  default = vllmPackages.vllm-nix;
  inherit (vllmPackages.vllm-nix) docs;
}
