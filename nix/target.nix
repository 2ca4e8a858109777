# Type: AttrSet -> Derivation
# The environment of one target (a value of lib.targets): the wheels of its lock, and those made here.
{
  aliasWheel,
  environment,
  fetchWheel,
  lib,
  stdenv,
  wheel,
}:
target:
let
  inherit (stdenv.hostPlatform) system;
  inherit (import ./lib) lockFile pylock;
  fetch = fetchWheel {
    target = target.name;
    index = target.wheels.index or { };
  };
  locked = map (entry: wheel (entry // { src = fetch entry; })) (
    pylock (lockFile target.name system)
  );

  alias = aliasWheel {
    name = "vllm";
    version = "${target.vllm.version}+${target.vllm.device}";
    of = "${target.vllm.distribution}==${target.vllm.version}";
  };
  aliases = lib.optional (target.vllm.distribution != "vllm") (wheel {
    inherit (alias) name version file;
    src = alias;
  });
in
if !builtins.elem system target.systems then
  throw "vllm-${target.name} is for ${lib.concatStringsSep ", " target.systems}, not ${system}"
else
  environment {
    inherit target;
    wheels = locked ++ aliases;
  }
