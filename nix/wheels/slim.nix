# Type: { target, wheels : [ Derivation ] } -> [ Derivation ]
# Unpacked wheels, those of `wheels.slim` without the GPU code that the target's devices never run; the others, or
# all where the target does not ask for it, as they are. docs/slim.md says more.
{
  lib,
  runCommand,
  vllm-nix,
  zstd,
}:
{ target, wheels }:
let
  licenses = import ./licenses.nix;
  inherit (lib.importTOML ./slim.toml) distributions;
  inherit (target.wheels) slim;
  names = map (wheel: wheel.pname) wheels;
  key = "wheels.slim.distributions";

  isClosed = name: licenses.ofDistribution name != [ ];
  withClosed = slim.unfree or false;
  isAllowed = name: withClosed || !isClosed name;
  wanted =
    slim.distributions or (lib.filter (name: lib.elem name names && isAllowed name) distributions);
  strangers = lib.subtractLists names wanted;
  refused = lib.filter (name: !isAllowed name) wanted;

  inherit (target.cuda) capabilities;
  arguments = lib.concatStringsSep " " (
    map (capability: "--for ${capability}") capabilities
    ++ lib.optional (target ? jetpack) "--jetpack ${target.jetpack.version}"
  );
  # What a library is loaded beside when the new one is tried: CUDA and torch, whole.
  neighbours = lib.filter (
    wheel: wheel.pname == "torch" || lib.hasPrefix "nvidia-" wheel.pname
  ) wheels;

  nativeBuildInputs = [
    vllm-nix.slim
    zstd
  ];

  # The licences that allow to pass a library on do not if it was changed.
  modified = map (
    license:
    license
    // {
      shortName = "${license.shortName}, modified";
      fullName = "${license.fullName}, of which a part was removed";
      redistributable = false;
    }
  );
  slimWheel =
    wheel:
    runCommand "${wheel.name}-for-${lib.concatStringsSep "-" capabilities}"
      {
        inherit nativeBuildInputs;
        disallowedReferences = [ wheel ]; # else both would be kept
        passthru = {
          inherit (wheel) file pname version;
          without = wheel.without or [ ];
          sha256 = null; # no registry has it
          src = slimFile wheel;
        };
        meta = wheel.meta // licenses.meta (modified (licenses.ofDistribution wheel.pname));
      }
      ''
        export LD_LIBRARY_PATH=$(
          find ${toString neighbours} -path '*/lib/*.so*' -printf '%h\n' | sort --unique | tr '\n' ':'
        )
        vllm-nix slim ${wheel} ${arguments} --out $out
      '';
  # The same as a wheel, for pip.
  slimFile =
    wheel:
    runCommand wheel.file { inherit nativeBuildInputs; } ''
      vllm-nix slim ${wheel.src} ${arguments} --out out
      mv out/* $out
    '';
in
if !(target ? wheels.slim) then
  wheels
else if !(target ? cuda) then
  throw "vllm-${target.name}: wheels.slim is for cuda.capabilities, and it has none"
else if strangers != [ ] then
  throw "vllm-${target.name}: ${key}: its lock has no wheel ${lib.head strangers}"
else if refused != [ ] then
  throw "vllm-${target.name}: ${key}: ${lib.head refused} must not be passed on if changed; for yourself alone, set wheels.slim.unfree = true"
else
  map (wheel: if lib.elem wheel.pname wanted then slimWheel wheel else wheel) wheels
