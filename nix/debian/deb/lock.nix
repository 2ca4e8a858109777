# Type: { bring } -> Path -> String -> AttrSet
# The Debian packages of a lock file, by name.
{ bring }:
file: set:
builtins.mapAttrs (_: package: {
  inherit (package) version;
  src = bring {
    name = baseNameOf package.path;
    inherit (package) sha256;
    sentence = "not in the store; run: vllm-nix fetch ${set}";
  };
}) (builtins.fromJSON (builtins.readFile file)).packages
