{
  description = "vLLM for a Jetson AGX Orin, with one thing of one's own changed";

  inputs = {
    # Where it is, said once: nix registry add vllm-nix git+file:///home/me/vllm-nix
    vllm-nix.url = "flake:vllm-nix";
    nixpkgs.follows = "vllm-nix/nixpkgs";
  };

  outputs =
    { nixpkgs, vllm-nix, ... }:
    let
      system = "aarch64-linux";
      pkgs = import nixpkgs {
        inherit system;
        config = {
          allowUnfree = true; # CUDA
          cudaSupport = true;
        };
        overlays = [ vllm-nix.overlays.jetson ];
      };
    in
    {
      packages.${system} = {
        # The target as it is: its components are pkgs.vllmPackages.torch, .vllm, ...
        default = pkgs.vllmPackages.vllm-jetson;
        # With more compilers at once: an override reaches all that depends on it.
        eager =
          (pkgs.vllmPackages.overrideScope (
            _: super: {
              vllm = super.vllm.overrideAttrs { memoryPerJob = "6 GiB"; };
            }
          )).vllm-jetson;
      };
    };
}
