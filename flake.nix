{
  description = "A working, verified vLLM on the accelerator that you happen to have";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    # Only its functions are used, so none of its own inputs is.
    poetry2nix = {
      url = "github:nix-community/poetry2nix";
      flake = false;
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      poetry2nix,
    }:
    let
      packageSet = import ./nix/outputs/package-set.nix {
        inherit nixpkgs;
        overlay = self.overlays.default;
      };
      # `f` gets a system and its packages. Its names must not depend on the packages: Nix looks for
      # `.#lib` among them first, and would fetch nixpkgs to see that it is not there.
      forSystems =
        f:
        builtins.listToAttrs (
          map
            (system: {
              name = system;
              value = f system (packageSet system);
            })
            [
              "aarch64-linux"
              "x86_64-linux"
            ]
        );
    in
    {
      lib = import ./nix/lib;
      overlays = {
        default = import ./overlays;
      }
      // builtins.mapAttrs (name: _: import ./overlays/target.nix name) self.lib.targets;
      nixosModules = {
        default = self.nixosModules.vllm;
        vllm = {
          imports = [ ./nix/nixos/module.nix ];
          nixpkgs.overlays = [ self.overlays.default ];
        };
      };
      packages = forSystems (import ./nix/outputs/packages.nix);
      apps = forSystems (import ./nix/outputs/apps.nix);
      checks = forSystems (import ./nix/outputs/checks.nix);
      devShells = forSystems (import ./nix/outputs/shells.nix { inherit poetry2nix; });
      formatter = import ./nix/outputs/formatter.nix (forSystems (_: pkgs: pkgs));
      templates.default = {
        path = ./templates/default;
        description = "A flake of one's own with a target's overlay";
        welcomeText = "Say once where vllm-nix is: `nix registry add vllm-nix URL`, such as `git+file:///home/me/vllm-nix`.";
      };
      hydraJobs = builtins.mapAttrs (_: forSystems) (import ./nix/outputs/hydra.nix self);
    };
}
