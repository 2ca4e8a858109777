# The launcher's part that finds CANN on the host, for a target that names it.
{
  lib,
  python,
  target,
}:
let
  inherit (target) cann;
  words = lib.concatStringsSep " ";
in
lib.replaceStrings
  [
    "@name@"
    "@site@"
    "@version@"
    "@toolkit@"
    "@atb@"
    "@atb-roots@"
    "@driver@"
  ]
  [
    "vllm-${target.name}"
    "@out@/${python.sitePackages}"
    cann.version
    (words cann.toolkit)
    (words (map (root: "${root}/$abi") cann.atb))
    (words cann.atb)
    (words cann.driver)
  ]
  (builtins.readFile ./cann.sh)
