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
      systems = [
        "aarch64-linux"
        "x86_64-linux"
      ];
      pkgsFor =
        system:
        let
          pkgs = import nixpkgs {
            inherit system;
            overlays = [ self.overlays.default ];
            # nixpkgs refuses CUDA otherwise, and takes a server's for a Jetson (nix/cuda/packages-for.nix).
            config = {
              allowUnfreePredicate = package: pkgs._cuda.lib.allowUnfreeCudaPredicate package;
              cudaSupport = true;
              cudaCapabilities =
                if system == "aarch64-linux" then self.lib.targets.jetson.cuda.capabilities else [ ];
            };
          };
        in
        pkgs;
      isEmbedded = pkgsFor "x86_64-linux" ? bringFile;
      # `f` gets a system and its packages. Its names must not depend on the packages: Nix looks for
      # `.#lib` among them first, and would fetch nixpkgs to see that it is not there.
      forSystems =
        f:
        builtins.listToAttrs (
          map (system: {
            name = system;
            value = f system (pkgsFor system);
          }) systems
        );
    in
    {
      lib = import ./nix/lib;
      overlays = {
        default = import ./overlays;
      }
      // builtins.mapAttrs (name: _: import ./overlays/target.nix name) self.lib.targets;
      nixosModules.vllm = {
        imports = [ ./nix/nixos/module.nix ];
        nixpkgs.overlays = [ self.overlays.default ];
      };
      packages = forSystems (import ./nix/outputs/packages.nix);
      legacyPackages = forSystems (import ./nix/outputs/unfree.nix);
      apps = forSystems (import ./nix/outputs/apps.nix);
      checks = forSystems (import ./nix/outputs/checks.nix);
      devShells = forSystems (import ./nix/outputs/shells.nix { inherit poetry2nix; });
      formatter = if isEmbedded then { } else forSystems (_: pkgs: pkgs.nixfmt);
      templates.default = {
        path = ./templates/default;
        description = "A flake of one's own with a target's overlay";
      };
      hydraJobs = {
        inherit (self) packages checks;
        components = forSystems (import ./nix/outputs/hydra.nix);
      };
    };
}
