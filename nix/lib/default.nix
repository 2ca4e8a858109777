# What belongs in this folder: pure functions over the data in nix/targets, one to a file. They take no
# packages and no inputs, only builtins, so that `lib.targets` is evaluated without nixpkgs, and nothing here
# imports from another folder of nix/.
let
  directory = ../targets;
  readData = file: builtins.fromTOML (builtins.readFile (directory + "/${file}"));
  capabilities = readData "capabilities.toml";
  rules = readData "rules.toml" // {
    inherit capabilities;
  };
  cuda = import ./cuda.nix capabilities;
  schema = import ./schema.nix {
    inherit rules;
    keys = readData "schema.toml";
  };
  withProfiles = import ./profiles.nix (readData "profiles.toml");
  checks = {
    checkSchema = schema;
    checkRules = import ./rules.nix { inherit cuda rules; };
  };
in
import ./targets.nix ({ inherit cuda directory withProfiles; } // checks)
// checks
// {
  inherit cuda;
  indexesFor = import ./indexes-for.nix;
  lockDigest = import ./lock-digest.nix;
  pylock = import ./pylock.nix;
}
