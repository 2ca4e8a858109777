# The components of one target (a value of lib.targets), over what all targets share. A package finds the
# target's parameters as `target`, its CUDA as `cudaPackages`, and the other components by name.
target: self: _super:
{
  inherit target;
  vllm = self.callPackage ../pkgs/vllm { };
  "vllm-${target.name}" = self.callPackage ../nix/target.nix {
    components = map (name: self.${name}) target.components;
  };
  # What `vllm-nix lock --built` reads: wheels of nothing but metadata, where it can be told early.
  built = self.callPackage (
    { linkFarm }:
    linkFarm "${target.name}-built" (
      map (name: rec {
        name = path.file;
        path = self.${name}.metadata or self.${name};
      }) target.components
    )
  ) { };
}
// (if target ? cuda then { cudaPackages = self.cudaPackagesFor target.cuda.toolkit; } else { })
