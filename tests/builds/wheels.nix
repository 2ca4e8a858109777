# Wheels from files of the test's own, and an environment of them.
# { files = [ { name, version, file, src } ... ]; driver = [ ... ]; }
{
  files,
  driver ? [ ],
  system ? builtins.currentSystem,
  more ? { }, # of the target
  optional ? { },
}:
let
  pkgs = import ../../nix/debian {
    inherit system;
    overlays = [ (import ../../overlays) ];
  };
  wheels = map pkgs.vllmPackages.unpackWheel files;
in
{
  inherit wheels;
  environment = pkgs.vllmPackages.environment {
    inherit wheels;
    target = {
      name = "test";
      summary = "wheels of a test";
      python = "3.11";
      systems = [ pkgs.stdenv.hostPlatform.system ];
      driver.libraries = driver;
      wheels.optional-libraries = optional;
    }
    // more;
  };
}
