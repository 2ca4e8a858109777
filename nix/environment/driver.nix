# The launcher's part that finds the host's driver, for a target that names its libraries.
{
  lib,
  opened, # { <name> = Path }
  stdenv,
  target,
}:
let
  processor = lib.head (lib.splitString "-" stdenv.hostPlatform.system);
  isCuda = library: library == "libcuda.so.1"; # goes first: the others are of its release
  libraries = lib.partition isCuda target.driver.libraries;
in
lib.replaceStrings
  [
    "@libraries@"
    "@name@"
    "@opened@"
    "@opened-files@"
    "@triplet@"
  ]
  [
    (lib.concatStringsSep " " (libraries.right ++ libraries.wrong))
    "vllm-${target.name}"
    (toString (lib.attrNames opened))
    (toString (lib.attrValues opened))
    "${processor}-linux-gnu"
  ]
  (builtins.readFile ./driver.sh)
