# Type: { provided, system } -> Path -> String -> AttrSet
# The Debian packages of a lock file, by name.
{ provided, system }:
file: set:
builtins.mapAttrs (_: package: {
  inherit (package) version;
  src = provided {
    name = baseNameOf package.path;
    inherit (package) sha256;
    sentence = "not in the store; run: vllm-nix fetch ${set} --system ${system}";
  };
}) (builtins.fromJSON (builtins.readFile file)).packages
