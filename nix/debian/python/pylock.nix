# The wheels of a lock file (PEP 751) below a folder, by name.
{ provided, system }:
folder: set:
let
  lock = folder + "/pylock.${system}.toml";
  data = builtins.fromTOML (builtins.readFile lock);
in
builtins.listToAttrs (
  map (
    package:
    let
      wheel = builtins.head package.wheels;
    in
    {
      inherit (package) name;
      value = {
        inherit (package) name version;
        file = wheel.path;
        src = provided {
          name = wheel.path;
          inherit (wheel.hashes) sha256;
          sentence = "not in the store; run: vllm-nix fetch ${set} --system ${system}";
        };
      };
    }
  ) data.packages
)
