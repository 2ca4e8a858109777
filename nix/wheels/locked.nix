# Type: [ Derivation ]
# The wheels of a target's lock for this system, each unpacked.
{
  fetchWheel,
  lib,
  pkgs,
  stdenv,
  target,
  unpackWheel,
  vllmWheel,
}:
let
  inherit (stdenv.hostPlatform) system;
  inherit (import ../lib)
    indexesFor
    lockDigest
    lockFile
    pylock
    targets
    ;
  path = lockFile target.name system;
  lock = pylock path;
  libraries = name: map (each: pkgs.${each}) ((target.wheels.libraries or { }).${name} or [ ]);
  fetch = fetchWheel {
    target = target.name;
    index = indexesFor system target;
  };
  diet = import ./diet.nix target;
  patches = if target.vllm.from == "wheel" then target.vllm.patches or [ ] else [ ];
  patched =
    entry:
    if entry.name == target.vllm.distribution && patches != [ ] then
      let
        file = vllmWheel {
          inherit patches;
          wheel = entry;
        };
      in
      {
        inherit (file) name version file;
        src = file;
      }
    else
      entry;
in
if !builtins.elem system target.systems then
  throw "vllm-${target.name} is for ${lib.concatStringsSep ", " target.systems}, not ${system}"
else if !builtins.pathExists path then
  throw "vllm-${target.name} has no lock for ${system}; run: vllm-nix lock ${target.name}"
else if lock.digest != lockDigest target && lock.digest == lockDigest targets.${target.name} then
  throw "vllm-${target.name}: what overrideTarget changes asks for other wheels than its lock has; write a target that extends '${target.name}', and lock that: docs/targets.md"
else if lock.digest != lockDigest target then
  throw "nix/targets/${target.name}/pylock.${system}.toml was resolved from other requirements than ${target.name} has; run: vllm-nix lock ${target.name}"
else
  map (
    entry:
    unpackWheel (
      patched (entry // { src = fetch entry; })
      // {
        libraries = libraries entry.name;
        without = diet entry.name;
      }
    )
  ) lock.wheels
