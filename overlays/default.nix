# What belongs in this folder: what joins the components of pkgs/ with the targets, over any nixpkgs.
#
# Adds `vllmPackages`, what every target shares, and a scope for each target; changes nothing else.
final: _prev:
let
  inherit (final) lib;
  inherit (final.stdenv) buildPlatform hostPlatform;
  inherit (import ../nix/lib) targets;
  names = lib.concatMap (name: [
    name
    "vllm-${name}"
  ]) (lib.attrNames targets);
in
{
  vllmPackages = lib.makeScope final.newScope (
    self:
    {
      # Builds start the Python that their wheels are for.
      python =
        if buildPlatform.system == hostPlatform.system then
          final.python311
        else
          throw "vllmPackages cannot be cross-compiled; take the packages of ${hostPlatform.system}, and let a builder make them: docs/fleet.md";
      aliasWheel = self.callPackage ../nix/wheels/alias { };
      bundle = self.callPackage ../nix/environment/bundle.nix { };
      image = self.callPackage ../nix/environment/image { };
      buildWheel = self.callPackage ../nix/wheels/build { };
      # nvcc works with some releases of g++ alone.
      buildCudaWheel =
        cudaPackages:
        self.callPackage ../nix/wheels/build (
          if cudaPackages ? backendStdenv then { stdenv = cudaPackages.backendStdenv; } else { }
        );
      # The tag of a wheel that is compiled here.
      compiledTag =
        let
          abi = "cp${lib.replaceStrings [ "." ] [ "" ] self.python.pythonVersion}";
        in
        "${abi}-${abi}-linux_${hostPlatform.parsed.cpu.name}";
      cudaPackagesFor = self.callPackage ../nix/cuda/packages-for.nix { };
      fetchWheel = self.callPackage ../nix/wheels/fetch.nix { };
      unpackWheel = self.callPackage ../nix/wheels/unpack { };
      # Type: Path -> Derivation
      # The same for a wheel that is built here, and knows its own name and version.
      unpackBuilt =
        file:
        self.unpackWheel {
          inherit (file) name version file;
          src = file;
          fromSource = true;
          libraries = file.libraries or [ ];
        };
      # vLLM asks for 3.26 at least.
      cmakeForWheels =
        if lib.versionAtLeast (final.cmake.version or "0") "3.26" then
          final.cmake
        else
          self.python.pkgs.cmake;
      maxJobsHook = final.makeSetupHook { name = "max-jobs"; } ../nix/wheels/build/max-jobs.sh;
      cudaHome = self.callPackage ../nix/environment/cuda-home.nix { };
      environment = self.callPackage ../nix/environment { };
      environmentTests = self.callPackage ../nix/environment/tests { };
      published = self.callPackage ../nix/environment/published.nix { };
      due = self.callPackage ../nix/wheels/patch/due.nix { };
      patchedSource = self.callPackage ../nix/wheels/patch/source.nix { };
      patchedWheel = self.callPackage ../nix/wheels/patch/wheel.nix { };
      withDriver = self.callPackage ../nix/environment/with-driver.nix { };
      slimWheels = self.callPackage ../nix/wheels/slim.nix { };
      registrySource = self.callPackage ../nix/wheels/fetch-source.nix { };
      sourceRow = self.callPackage ../pkgs/source-row.nix { };
      stubNeuron = self.callPackage ../nix/wheels/stub-neuron { };
      stubTorch = self.callPackage ../nix/wheels/stub-torch { };
      vllmSource = self.callPackage ../pkgs/vllm/source.nix { };
      vllmWheel = self.callPackage ../pkgs/vllm/wheel.nix { };
      vllm-nix = self.callPackage ../pkgs/vllm-nix { };
    }
    // lib.concatMapAttrs (name: target: {
      # All that is shared, as overrideScope has left it, but for the other targets: scopes would nest
      # without end.
      ${name} = lib.makeScope final.newScope (
        lib.extends (import ./components.nix target) (own: removeAttrs (self.packages own) names)
      );
      "vllm-${name}" = self.${name}."vllm-${name}";
    }) targets
  );
}
