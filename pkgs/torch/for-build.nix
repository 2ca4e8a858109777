# Type: [ Derivation ]
# What a build against torch needs to import it: the torch that is built here, or the lock's.
{
  lib,
  lockedWheels,
  python,
  symlinkJoin,
  target,
  torch,
  unpackBuilt,
}:
let
  # nvidia-ml-py talks to the driver, and nothing is compiled against it: locks that have another release of
  # it, or none, share what is compiled.
  isCuda = wheel: lib.hasPrefix "nvidia-" wheel.pname && wheel.pname != "nvidia-ml-py";
  # Libraries find one another by their place in one tree.
  ofLock = symlinkJoin {
    name = "torch-${target.torch.version}";
    paths = lib.filter (wheel: wheel.pname == "torch" || isCuda wheel) lockedWheels;
  };
in
[ (if target.torch.from == "source" then unpackBuilt torch else ofLock) ]
++ import ./imports.nix python.pkgs
