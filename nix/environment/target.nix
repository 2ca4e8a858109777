# The environment of a target: the wheels of its lock, and the components built here.
{
  aliasWheel,
  components,
  environment,
  flashinfer-jit-cache,
  lib,
  lockedWheels,
  model,
  overrideTarget,
  slimWheels,
  target,
  unpackBuilt,
}:
let
  alias = aliasWheel {
    name = "vllm";
    version = "${target.vllm.version}+${target.vllm.device}";
    of = "${target.vllm.distribution}==${target.vllm.version}";
  };
  built =
    lib.optional (target.vllm.distribution != "vllm") alias
    ++ components
    ++ lib.optional (target ? kernels) flashinfer-jit-cache;
  changed = change: (overrideTarget change)."vllm-${target.name}";
  slimFor =
    slim:
    changed (
      old:
      old
      // {
        wheels = old.wheels or { } // {
          inherit slim;
        };
      }
    );
in
environment {
  inherit target;
  models = lib.genAttrs (target.models or [ ]) model;
  wheels =
    slimWheels {
      inherit target;
      wheels = lockedWheels;
    }
    ++ map unpackBuilt built;
  passthru = {
    # The same without the GPU code that its devices never run: of free software; of NVIDIA's closed libraries
    # too, for oneself alone.
    slim = slimFor { for = "cuda.capabilities"; } // {
      unfree = slimFor {
        for = "cuda.capabilities";
        unfree = true;
      };
    };
    # The same with the kernels that FlashInfer would compile at the first request.
    kernels = changed (old: { kernels.modules = [ "sampling" ]; } // old);
  };
}
