{
  description = "A target's vLLM, with one thing of one's own changed";

  inputs = {
    # Where it is, said once: nix registry add vllm-nix git+file:///home/me/vllm-nix
    vllm-nix.url = "flake:vllm-nix";
    nixpkgs.follows = "vllm-nix/nixpkgs";
  };

  outputs =
    { nixpkgs, vllm-nix, ... }:
    let
      target = "jetson"; # or another one: vllm-nix targets --all
      system = "aarch64-linux"; # that it is for
      pkgs = import nixpkgs {
        inherit system;
        config = {
          allowUnfree = true; # CUDA
          cudaSupport = true;
        };
        overlays = [ vllm-nix.overlays.${target} ];
      };
    in
    {
      packages.${system} = {
        # The target as it is: its components are pkgs.vllmPackages.torch, .vllm, ...
        default = pkgs.vllmPackages."vllm-${target}";
        # With more compilers at once: what is changed is checked as the target's file is, and reaches
        # all that depends on it. A component by itself: overrideScope.
        eager = (pkgs.vllmPackages.overrideTarget { build.memory-per-job = "6 GiB"; })."vllm-${target}";
      };
    };
}
