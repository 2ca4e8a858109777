# Type: { wheels, debs, tools }
# AWS Neuron's SDK of the release that a target names, each file by its published hash. AWS's licence
# forbids to pass it on: on the embedded base it is brought by hand, on nixpkgs it comes from AWS's own
# index, for those who allow unfree packages. Keep it out of public caches.
{
  autoPatchelfHook,
  bringFile ? null,
  fetchurl,
  lib,
  python,
  stdenv,
  target,
}:
let
  inherit (target.neuron) sdk;
  releases = builtins.fromTOML (builtins.readFile ./sdk.toml);
  files =
    releases.${sdk}
      or (throw "no file of AWS Neuron's SDK ${sdk} is known by its hash; there are: ${lib.concatStringsSep ", " (lib.attrNames releases)}");
  meta = {
    license = lib.licenses.unfree;
    homepage = "https://awsdocs-neuron.readthedocs-hosted.com";
  };

  file =
    url: entry:
    if bringFile != null then
      bringFile {
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
  encoded = lib.replaceStrings [ "+" ] [ "%2B" ];

  wheels = lib.mapAttrs (
    name: entry:
    file "https://pip.repos.neuron.amazonaws.com/${name}/${encoded entry.file}" entry
    // {
      inherit name;
      inherit (entry) version file;
    }
  ) files.wheels;
  debs = lib.mapAttrs (
    name: entry: file "https://apt.repos.neuron.amazonaws.com/pool/main/a/${name}/${entry.file}" entry
  ) files.debs;
in
{
  inherit wheels debs;

  # The runtime, its collectives, neuron-ls and neuron-top: what AWS installs below /opt/aws/neuron. The
  # kernel's driver, aws-neuronx-dkms, is the host's.
  tools = stdenv.mkDerivation {
    pname = "neuron-tools";
    version = sdk;
    srcs = lib.attrValues debs;
    nativeBuildInputs = [
      autoPatchelfHook
      python
    ];
    buildInputs = [ stdenv.cc.cc ];
    dontUnpack = true;
    dontConfigure = true;
    dontBuild = true;
    installPhase = ''
      for deb in $srcs; do
        ar x "$deb"
        ${python.interpreter} -m tarfile -e data.tar.*
        rm data.tar.*
      done
      mkdir -p $out
      cp -r opt/aws/neuron/. $out
    '';
    inherit meta;
  };
}
