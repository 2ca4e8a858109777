# Type: Path -> { digest, wheels = [ { name, version, file, size, sha256 } ] }
# A lock file (PEP 751, one wheel a package, by relative path), and the digest of what it resolves.
lock:
let
  data = builtins.fromTOML (builtins.readFile lock);
  wheel =
    package:
    let
      found = package.wheels or [ ];
      only = builtins.head found;
    in
    if builtins.length found != 1 then
      throw "${toString lock}: ${package.name}: expected one wheel, got ${toString (builtins.length found)}; write the lock with `vllm-nix lock`"
    else
      {
        inherit (package) name version;
        file = only.path;
        size = only.size or null;
        inherit (only.hashes) sha256;
      };
in
{
  digest = data.tool.vllm-nix.requirements or null;
  wheels = map wheel data.packages;
}
