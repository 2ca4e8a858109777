# Type: [ Derivation ]
# What a build against torch needs to import it: the torch that is built here, or the lock's.
{
  lib,
  lockedWheels,
  python,
  symlinkJoin,
  target,
  torch,
  unpackWheel,
}:
let
  # Libraries find one another by their place in one tree.
  ofLock = symlinkJoin {
    name = "torch-${target.torch.version}";
    paths = lib.filter (
      wheel: wheel.pname == "torch" || lib.hasPrefix "nvidia-" wheel.pname
    ) lockedWheels;
  };
in
[ (if target.torch.from == "source" then unpackWheel torch else ofLock) ]
++ import ./imports.nix python.pkgs
