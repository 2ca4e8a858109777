# Type: { provided } -> Path -> String -> AttrSet
# The Debian packages of a lock file, by name.
{ provided }:
file: set:
builtins.mapAttrs (_: package: {
  inherit (package) version;
  src = provided {
    name = baseNameOf package.path;
    inherit (package) sha256;
    sentence = "not in the store; run: vllm-nix fetch ${set}";
  };
}) (builtins.fromJSON (builtins.readFile file)).packages
