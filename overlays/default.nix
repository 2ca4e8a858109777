# Adds `vllmPackages`, what every target shares, and a scope for each target; changes nothing else.
final: _prev:
let
  inherit (final) lib;
  inherit (import ../nix/lib) targets;
in
{
  vllmPackages = lib.makeScope final.newScope (
    self:
    {
      python = final.python311;
      aliasWheel = self.callPackage ../pkgs/alias-wheel { };
      buildWheel = self.callPackage ../nix/build-wheel.nix { };
      # nvcc works with some releases of g++ alone.
      buildCudaWheel =
        cudaPackages:
        self.callPackage ../nix/build-wheel.nix (
          if cudaPackages ? backendStdenv then { stdenv = cudaPackages.backendStdenv; } else { }
        );
      cudaPackagesFor = self.callPackage ../nix/cuda-packages-for.nix { };
      fetchWheel = self.callPackage ../nix/fetch-wheel.nix { };
      wheel = self.callPackage ../nix/wheel.nix { };
      unpackWheel =
        file:
        self.wheel {
          inherit (file) name version file;
          src = file;
          libraries = file.libraries or [ ];
        };
      # vLLM asks for 3.26 at least.
      cmakeForWheels =
        if lib.versionAtLeast (final.cmake.version or "0") "3.26" then
          final.cmake
        else
          self.python.pkgs.cmake;
      maxJobsHook = final.makeSetupHook { name = "max-jobs"; } ../nix/max-jobs.sh;
      cudaHome = self.callPackage ../nix/cuda-home.nix { };
      environment = self.callPackage ../nix/environment.nix { };
      due = self.callPackage ../nix/due.nix { };
      patchedSource = self.callPackage ../nix/patched-source.nix { };
      patchedWheel = self.callPackage ../nix/patched-wheel { };
      withDriver = self.callPackage ../nix/with-driver.nix { };
      registrySource = self.callPackage ../nix/registry-source.nix { };
      stubNeuron = self.callPackage ../pkgs/stub-neuron { };
      stubTorch = self.callPackage ../pkgs/stub-torch { };
      vllmSource = self.callPackage ../pkgs/vllm/source.nix { };
      vllmWheel = self.callPackage ../pkgs/vllm/wheel.nix { };
      vllm-nix = self.callPackage ../pkgs/vllm-nix { };
    }
    // lib.concatMapAttrs (name: target: {
      ${name} = self.overrideScope (import ./components.nix target);
      "vllm-${name}" = self.${name}."vllm-${name}";
    }) targets
  );
}
