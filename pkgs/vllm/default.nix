# vLLM's wheel for a target, from its source archive: target.vllm says which release, for which device
# and with which patches. Its file name is the release's own, with what it was compiled with.
{
  buildWheel,
  lib,
  python,
  stdenv,
  stubNeuron,
  stubTorch,
  target,
  vllmSource,
}:
let
  release = target.vllm.version;
  inherit (target.vllm) device;
  isOlder = lib.versionOlder release;

  byDevice = {
    # No extensions: Python files alone.
    empty = {
      compiler = "";
      build-system = [ stubTorch ];
    };
    neuron = rec {
      compiler =
        target.neuron.neuronx-cc
          or (throw "vllm for neuron: target ${target.name} does not say neuron.neuronx-cc, the compiler's release that the wheel is named after");
      build-system = [
        stubTorch
        (stubNeuron compiler)
      ];
      patches = [ "neuron" ];
    };
  };
  build =
    byDevice.${device}
      or (throw "vllm for device '${device}' is not built from source here; there are: ${lib.concatStringsSep ", " (lib.attrNames byDevice)}");

  version = import ./version.nix {
    inherit lib release device;
    inherit (build) compiler;
  };
  # From 0.22.0 on a binary of Rust is declared, built or not.
  isPure = build ? pure || isOlder "0.22.0";
  abi = "cp${lib.replaceStrings [ "." ] [ "" ] python.pythonVersion}";
in
buildWheel (
  {
    pname = "vllm";
    inherit version;
    tag =
      if isPure then "py3-none-any" else "${abi}-${abi}-linux_${stdenv.hostPlatform.parsed.cpu.name}";
    src = vllmSource {
      inherit release;
      patches = target.vllm.patches or [ ] ++ build.patches or [ ];
    };
    build-system = [
      python.pkgs.jinja2
      python.pkgs.packaging
      python.pkgs.setuptools
      python.pkgs.setuptools-scm
      python.pkgs.wheel
    ]
    ++ build.build-system;
    # There is no git history to read it from.
    SETUPTOOLS_SCM_PRETEND_VERSION = release;
    VLLM_TARGET_DEVICE = device;
  }
  // lib.optionalAttrs (!isOlder "0.11.1") { VLLM_VERSION_OVERRIDE = version; }
  // build.environment or { }
)
