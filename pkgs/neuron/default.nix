# Type: { wheels, debs, tools }
# AWS Neuron's SDK of the release that a target names, each file by its published hash. AWS's licence
# forbids to pass it on: on the embedded base the user adds it, on nixpkgs it comes from AWS's own
# index, for those who allow unfree packages. Keep it out of public caches.
{
  providedFile ? null,
  callPackage,
  fetchurl,
  lib,
  python,
  runCommandLocal,
  stdenv,
  target,
  transformers-neuronx,
  vllm,
}:
let
  inherit (target.neuron) sdk;
  releases = builtins.fromTOML (builtins.readFile ./sdk.toml);
  files =
    releases.${sdk}
      or (throw "AWS Neuron's SDK ${sdk} is not known here; there are: ${lib.concatStringsSep ", " (lib.attrNames releases)}");
  meta = {
    license = (import ../../nix/wheels/licenses.nix).ofDistribution "neuronx-cc";
    homepage = "https://awsdocs-neuron.readthedocs-hosted.com";
    hydraPlatforms = [ ]; # what is built of it must not be published either
  };

  # Type: String -> { file, sha256 ? null, ... } -> Path
  sdkFile =
    place: entry:
    let
      url = "${place}/${lib.replaceStrings [ "+" ] [ "%2B" ] entry.file}";
    in
    if !(entry ? sha256) then
      runCommandLocal entry.file { inherit meta; } ''
        echo "${entry.file} of AWS Neuron's SDK ${sdk} is AWS's to hand out, and has no published hash: download it from ${place}/, write its sha256sum into pkgs/neuron/sdk.toml, then run: vllm-nix fetch ${target.name} --from FOLDER"
        exit 1
      ''
    else if providedFile != null then
      providedFile {
        inherit (entry) sha256;
        name = entry.file;
        sentence = "not in the store; it is AWS's to hand out: ${url}; then run: vllm-nix fetch ${target.name} --from FOLDER";
      }
    else
      fetchurl {
        inherit (entry) sha256;
        inherit meta url;
        name = entry.file;
      };

  tools = callPackage ./tools.nix { inherit debs meta sdk; };
  debs = lib.mapAttrs (
    name: sdkFile "https://apt.repos.neuron.amazonaws.com/pool/main/a/${name}"
  ) files.debs;

  # What a wheel may require: another by its version, and by name alone what the target excludes or
  # overrides.
  inherit (import ../../nix/lib) lockFile pylock;
  lock = lockFile target.name stdenv.hostPlatform.system;
  others =
    lib.optionals (builtins.pathExists lock) (pylock lock).wheels
    ++ [
      transformers-neuronx
      vllm
    ]
    ++ lib.mapAttrsToList (name: { version, ... }: { inherit name version; }) files.wheels;
  PACKAGES = builtins.toJSON {
    versions = lib.listToAttrs (map ({ name, version, ... }: lib.nameValuePair name version) others);
    settled = target.wheels.exclude or [ ] ++ target.wheels.override or [ ];
  };

  wheel =
    name: entry:
    let
      src = sdkFile "https://pip.repos.neuron.amazonaws.com/${name}" entry;
    in
    runCommandLocal entry.file
      {
        inherit meta PACKAGES;
        PYTHONPATH = "${python.pkgs.packaging}/${python.sitePackages}";
        nativeBuildInputs = [ python ];
      }
      ''
        ${python.interpreter} ${./check_requirements.py} ${src} ${entry.file} ${target.name}
        ln -s ${src} $out
      ''
    // {
      inherit name;
      inherit (entry) version file;
      libraries = [ tools ]; # libnrt
      # For the resolver of locks alone: no file of AWS's, and in no environment.
      metadata = runCommandLocal entry.file { } ''
        ${python.interpreter} ${./metadata_wheel.py} $out ${name} ${entry.version} ${lib.escapeShellArgs entry.requires}
      '';
    };
in
{
  inherit debs tools;
  wheels = lib.genAttrs target.neuron.wheels (
    name:
    wheel name (
      files.wheels.${name}
        or (throw "AWS Neuron's SDK ${sdk} has no wheel '${name}' here; there are: ${lib.concatStringsSep ", " (lib.attrNames files.wheels)}, transformers-neuronx")
    )
  );
}
