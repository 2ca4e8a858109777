# Type: { lib, release, device, compiler } -> String
# The version that a release's own setup.py gives a wheel for `device`: it adds what it was compiled
# with. `compiler` is nvcc's release, or neuronx-cc's.
{
  lib,
  release,
  device,
  compiler,
}:
let
  before = lib.versionOlder release;
  digits = lib.substring 0 3 (lib.replaceStrings [ "." ] [ "" ] compiler);
  # MAIN_CUDA_VERSION: the one that goes without saying.
  main =
    if before "0.8.0" then
      "12.1"
    else if before "0.9.0" then
      "12.4"
    else
      "12.8";
  isSilent =
    # the line is a comment there (0.5.1: setup.py:331)
    !before "0.4.1" && before "0.6.2"
    # later than that VLLM_VERSION_OVERRIDE decides, and says it always
    || before "0.11.1" && compiler == main;
in
release
+ {
  cuda = lib.optionalString (!isSilent) "+cu${digits}";
  empty = "+empty";
  neuron = "+neuron${digits}";
}
.${device}
