# Adds `vllmPackages`, the components and the targets made of them; changes nothing else.
final: _prev:
let
  inherit (import ../nix/lib) lockedTargets;
  inherit (final.stdenv.hostPlatform) system;
in
{
  vllmPackages = final.lib.makeScope final.newScope (
    self:
    {
      python = final.python311;
      aliasWheel = self.callPackage ../pkgs/alias-wheel { };
      fetchWheel = self.callPackage ../nix/fetch-wheel.nix { };
      wheel = self.callPackage ../nix/wheel.nix { };
      environment = self.callPackage ../nix/environment.nix { };
      patchedSource = self.callPackage ../nix/patched-source.nix { };
      registrySource = self.callPackage ../nix/registry-source.nix { };
      target = self.callPackage ../nix/target.nix { };
      vllmSource = self.callPackage ../pkgs/vllm/source.nix { };
      vllm-nix = self.callPackage ../pkgs/vllm-nix { };
    }
    // final.lib.mapAttrs' (name: target: final.lib.nameValuePair "vllm-${name}" (self.target target)) (
      lockedTargets system
    )
  );
}
