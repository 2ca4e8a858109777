# The components of one target (a value of lib.targets), over what all targets share. A package finds the
# target's parameters as `target`, its CUDA as `cudaPackages`, and the other components by name.
target: self: _super:
let
  inherit (import ../nix/lib) changeTarget targets;
  # `vllm-ascend` is the environment of the target `ascend`, as `vllm-cpu` is cpu's.
  attributes.vllm-ascend = "vllm-ascend-plugin";
  component =
    name:
    self.${attributes.${name} or name}
      or (throw "${target.name} has no component '${name}', nor can overrideTarget add it; write it into a target of your own");
  table =
    key:
    let
      others = builtins.filter (name: targets.${name} ? ${key}) (builtins.attrNames targets);
      names = if others == [ ] then "none" else builtins.concatStringsSep ", " others;
    in
    self.target.${key}
      or (throw "target ${target.name} has no table '${key}', which overrideTarget may add; targets that have it: ${names}");
  # A component of the targets that have a table for it.
  ofTable = key: file: builtins.seq (table key) (self.callPackage file);
in
{
  inherit target;
  # Type: overrideTarget :: AttrSet | (AttrSet -> AttrSet) -> AttrSet
  # The scope for the target with other parameters: those that are given go before its own, table by table.
  overrideTarget =
    change: self.overrideScope (_: super: { target = changeTarget change super.target; });
  cudaPackages = self.cudaPackagesFor (table "cuda");
  # Beside torch's wheel, any CUDA of its major version compiles code for given capabilities; a base
  # need not have the wheels' own.
  cudaPackagesForTorch =
    if self.target.torch.from == "wheel" then
      self.cudaPackagesFor (table "cuda" // { anyMinor = true; })
    else
      self.cudaPackages;
  cudaToolkit = self.callPackage ../nix/cuda/toolkit.nix { };
  cutlass = ofTable "cutlass" ../pkgs/cutlass { };
  flash-attn = ofTable "flash-attn" ../pkgs/flash-attn { cudaPackages = self.cudaPackagesForTorch; };
  flashinfer-jit-cache = ofTable "kernels" ../pkgs/flashinfer-jit-cache { };
  lockedWheels = self.callPackage ../nix/wheels/locked.nix { };
  model = self.callPackage ../pkgs/models { };
  nccl =
    if self.target.torch.from == "wheel" then
      self.callPackage ../pkgs/nccl/of-torch.nix { }
    else
      ofTable "nccl" ../pkgs/nccl { };
  nccl-tests = self.callPackage ../pkgs/nccl-tests { cudaPackages = self.cudaPackagesForTorch; };
  torch = self.callPackage ../pkgs/torch { };
  torchForBuild = self.callPackage ../pkgs/torch/for-build.nix { };
  triton = ofTable "triton" ../pkgs/triton { };
  triton-ascend = ofTable "triton-ascend" ../pkgs/triton-ascend { };
  triton-llvm = ofTable "triton" ../pkgs/triton-llvm { };
  vendorFiles = self.callPackage ../nix/wheels/vendor { };
  vllm = self.callPackage ../pkgs/vllm { };
  vllm-flash-attn = ofTable "vllm-flash-attn" ../pkgs/vllm-flash-attn { };
  vllm-ascend-plugin = ofTable "vllm-ascend" ../pkgs/vllm-ascend { };
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
