# The components of one target (a value of lib.targets), over what all targets share. A package finds the
# target's parameters as `target`, its CUDA as `cudaPackages`, and the other components by name.
target: self: _super:
let
  inherit (import ../nix/lib) changeTarget;
  # `vllm-ascend` is the environment of the target `ascend`, as `vllm-cpu` is cpu's.
  attributes.vllm-ascend = "vllm-ascend-plugin";
  component =
    name:
    self.${attributes.${name} or name}
      or (throw "${target.name} has no component '${name}', nor can overrideTarget add it; write it into a target of your own");
in
{
  inherit target;
  # Type: overrideTarget :: (AttrSet -> AttrSet) -> AttrSet
  # The scope for the target with other parameters.
  overrideTarget =
    change: self.overrideScope (_: super: { target = changeTarget change super.target; });
  cutlass = self.callPackage ../pkgs/cutlass { };
  flash-attn = self.callPackage ../pkgs/flash-attn { cudaPackages = self.cudaPackagesForTorch; };
  flashinfer-jit-cache = self.callPackage ../pkgs/flashinfer-jit-cache { };
  lockedWheels = self.callPackage ../nix/wheels/locked.nix { };
  model = self.callPackage ../pkgs/models { };
  nccl = self.callPackage (
    if self.target.torch.from == "wheel" then ../pkgs/nccl/of-torch.nix else ../pkgs/nccl
  ) { };
  nccl-tests = self.callPackage ../pkgs/nccl-tests { cudaPackages = self.cudaPackagesForTorch; };
  torch = self.callPackage ../pkgs/torch { };
  torchForBuild = self.callPackage ../pkgs/torch/for-build.nix { };
  triton = self.callPackage ../pkgs/triton { };
  triton-ascend = self.callPackage ../pkgs/triton-ascend { };
  triton-llvm = self.callPackage ../pkgs/triton-llvm { };
  vendorFiles = self.callPackage ../nix/wheels/vendor { };
  vllm = self.callPackage ../pkgs/vllm { };
  vllm-flash-attn = self.callPackage ../pkgs/vllm-flash-attn { };
  vllm-ascend-plugin = self.callPackage ../pkgs/vllm-ascend { };
  registrySdist = self.callPackage ../pkgs/registry-sdist { };

  # The wheels that are built here.
  components = map component self.target.components;
  "vllm-${target.name}" = self.callPackage ../nix/environment/target.nix { };
  # What `vllm-nix lock --built` reads: wheels of nothing but metadata, where it is known early.
  built = self.callPackage (
    { components, linkFarm }:
    linkFarm "${target.name}-built" (
      map (wheel: {
        name = wheel.file;
        path = wheel.metadata or wheel;
      }) components
    )
  ) { };
}
// builtins.mapAttrs (
  name: _:
  self.registrySdist {
    inherit name;
    version = self.target.sdists.${name};
  }
) (target.sdists or { })
// (
  if target ? neuron then
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = self.neuronSdk.wheels.${name};
      }) target.neuron.wheels or [ ]
    )
    // {
      neuronSdk = self.callPackage ../pkgs/neuron { };
      transformers-neuronx = self.callPackage ../pkgs/transformers-neuronx { };
    }
  else
    { }
)
// (
  if target ? cuda then
    {
      cudaPackages = self.cudaPackagesFor self.target.cuda;
      # Beside torch's wheel, any CUDA of its major version compiles code for given capabilities; a base
      # need not have the wheels' own.
      cudaPackagesForTorch =
        if self.target.torch.from == "wheel" then
          self.cudaPackagesFor (self.target.cuda // { anyMinor = true; })
        else
          self.cudaPackages;
      cudaToolkit = self.callPackage ../nix/cuda/toolkit.nix { };
    }
  else
    { }
)
