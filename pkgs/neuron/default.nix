# Type: { wheels, debs, tools }
# AWS Neuron's SDK of the release that a target names, each file by its published hash. AWS's licence
# forbids to pass it on: on the embedded base the user adds it, on nixpkgs it comes from AWS's own
# index, for those who allow unfree packages. Keep it out of public caches.
{
  callPackage,
  lib,
  pkgs,
  stdenv,
  target,
  transformers-neuronx,
  vendorFiles,
  vllm,
}:
let
  inherit (target.neuron) sdk;
  releases = builtins.fromTOML (builtins.readFile ./sdk.toml);
  files =
    releases.${sdk}
      or (throw "AWS Neuron's SDK ${sdk} is not known here; there are: ${lib.concatStringsSep ", " (lib.attrNames releases)}");
  meta = {
    license = (import ../../nix/wheels/licenses.nix).ofDistribution "neuronx-cc";
    homepage = "https://awsdocs-neuron.readthedocs-hosted.com";
    hydraPlatforms = [ ]; # what is built of it must not be published either
  };

  inherit (import ../../nix/lib) lockFile pylock;
  lock = lockFile target.name stdenv.hostPlatform.system;
  others =
    lib.optionals (builtins.pathExists lock) (pylock lock).wheels
    ++ lib.optional (lib.elem "transformers-neuronx" target.neuron.wheels) transformers-neuronx
    ++ [ vllm ]
    ++ lib.mapAttrsToList (name: wheel: wheel // { inherit name; }) files.wheels;
  handedOut = vendorFiles {
    inherit meta;
    whose = "AWS's";
    of = "AWS Neuron's SDK ${sdk}";
    rows = "pkgs/neuron/sdk.toml";
    versions = lib.listToAttrs (map ({ name, version, ... }: lib.nameValuePair name version) others);
  };

  tools = callPackage ./tools.nix { inherit debs meta sdk; };
  debs = lib.mapAttrs (
    name: handedOut.file "https://apt.repos.neuron.amazonaws.com/pool/main/a/${name}"
  ) files.debs;
in
{
  inherit debs tools;
  wheels = lib.genAttrs target.neuron.wheels (
    name:
    handedOut.wheel "https://pip.repos.neuron.amazonaws.com/${name}" name (
      files.wheels.${name}
        or (throw "AWS Neuron's SDK ${sdk} has no wheel '${name}' here; there are: ${lib.concatStringsSep ", " (lib.attrNames files.wheels)}, transformers-neuronx")
    )
    // {
      libraries = [ tools ] ++ map (each: pkgs.${each}) (target.wheels.libraries.${name} or [ ]); # libnrt
    }
  );
}
