# vLLM's wheel for a target, from its source archive: target.vllm says which release, for which device
# and with which patches. Its file name is the release's own, with what it was compiled with.
#
# `extensions` limits what is compiled, to names such as "_moe_C": for tests.
{
  buildWheel,
  callPackage,
  compiledTag,
  lib,
  python,
  stubNeuron,
  stubTorch,
  target,
  vllmSource,
  extensions ? null,
}:
let
  release = target.vllm.version;
  inherit (target.vllm) device;
  isOlder = lib.versionOlder release;

  byDevice = {
    cuda = callPackage ./cuda.nix { };
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
      environment = lib.optionalAttrs (isOlder "0.4.0") {
        # A model that its registry names, and its archive lacks.
        preBuild = ''
          models=vllm/model_executor/models/neuron
          install -D ${./neuron/llama.py} $models/llama.py
          touch $models/__init__.py
        '';
      };
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
  isPure = build.isPure or true && isOlder "0.22.0";

  make =
    build:
    (build.buildWheel or buildWheel) (
      {
        pname = "vllm";
        inherit version;
        tag = if isPure then "py3-none-any" else compiledTag;
        src = vllmSource {
          inherit release;
          patches = target.vllm.patches or [ ] ++ build.patches or [ ];
          replacements = lib.optional (extensions != null) {
            file = "setup.py";
            old = "if not ext_modules:";
            new = ''
              ext_modules = [each for each in ext_modules if each.name.split(".")[-1] in ${builtins.toJSON extensions}]
              if not ext_modules:'';
          };
        };
        build-system = [
          python.pkgs.jinja2
          python.pkgs.packaging
          python.pkgs.setuptools
          python.pkgs.setuptools-scm
          python.pkgs.wheel
        ]
        ++ lib.optional (!isOlder "0.22.0") python.pkgs.setuptools-rust
        ++ build.build-system;
        strictDeps = true;
        # There is no git history to read it from.
        SETUPTOOLS_SCM_PRETEND_VERSION = release;
        VLLM_TARGET_DEVICE = device;
        meta = {
          description = "Inference and serving engine for large language models";
          homepage = "https://docs.vllm.ai";
          license = lib.licenses.asl20;
          timeout = 48 * 3600; # Hydra ends a build after ten hours, unless this says more
        };
        passthru = {
          libraries = build.libraries or [ ];
        }
        // lib.optionalAttrs (build ? metadata) {
          inherit (make (removeAttrs build [ "metadata" ] // build.metadata)) metadata;
        };
      }
      // lib.optionalAttrs (!isOlder "0.11.1") { VLLM_VERSION_OVERRIDE = version; }
      // build.environment or { }
    );
in
make build
