# What belongs in this folder: pure functions over the data in nix/targets, one to a file. They take no
# packages and no inputs, only builtins, so that `lib.targets` is evaluated without nixpkgs, and nothing here
# imports from another folder of nix/.
let
  directory = ../targets;
  rules = builtins.fromTOML (builtins.readFile (directory + "/rules.toml"));
  schema = import ./schema.nix {
    inherit rules;
    keys = builtins.fromTOML (builtins.readFile (directory + "/schema.toml"));
  };
  withProfiles = import ./profiles.nix (
    builtins.fromTOML (builtins.readFile (directory + "/profiles.toml"))
  );
  checks = {
    checkSchema = schema;
    checkRules = import ./rules.nix rules;
  };
in
import ./targets.nix ({ inherit directory withProfiles; } // checks)
// checks
// {
  pylock = import ./pylock.nix;
  gencode = import ./gencode.nix;
  canCompile = import ./can-compile.nix rules;

  # Type: isIntegratedGpu :: String -> Bool
  # Whether a compute capability is of a Jetson whose GPU is no PCI device: all before Thor.
  isIntegratedGpu =
    capability:
    rules.capabilities.${capability}.jetson or false && builtins.compareVersions capability "10.1" < 0;
}
