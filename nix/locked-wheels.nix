# Type: [ Derivation ]
# The wheels of a target's lock for this system, each unpacked.
{
  fetchWheel,
  lib,
  stdenv,
  target,
  vllmWheel,
  wheel,
}:
let
  inherit (stdenv.hostPlatform) system;
  inherit (import ./lib) lockFile pylock;
  lock = lockFile target.name system;
  fetch = fetchWheel {
    target = target.name;
    index = target.wheels.index or { };
  };
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
else if !builtins.pathExists lock && target ? neuron then
  throw "vllm-${target.name} needs AWS Neuron's SDK ${target.neuron.sdk}, which AWS alone hands out; with its files: vllm-nix fetch ${target.name} --from FOLDER; nix-build -A vllmPackages.${target.name}.built; vllm-nix lock ${target.name} --built result"
else if !builtins.pathExists lock then
  throw "vllm-${target.name} has no lock for ${system}; run: vllm-nix lock ${target.name}"
else
  map (entry: wheel (patched (entry // { src = fetch entry; }))) (pylock lock)
