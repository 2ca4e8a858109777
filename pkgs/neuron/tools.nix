# The runtime, its collectives, neuron-ls and neuron-top: what AWS installs below /opt/aws/neuron. The
# kernel's driver, aws-neuronx-dkms, is the host's.
{
  autoPatchelfHook,
  debs,
  lib,
  meta,
  python,
  sdk,
  stdenv,
}:
stdenv.mkDerivation {
  pname = "neuron-tools";
  version = sdk;
  srcs = lib.attrValues debs;
  nativeBuildInputs = [
    autoPatchelfHook
    python
  ];
  buildInputs = [ stdenv.cc.cc ];
  autoPatchelfIgnoreMissingDeps = [ "libfabric.so.1" ]; # EFA's, for many machines: the host's
  appendRunpaths = [ "${placeholder "out"}/lib" ]; # libnrt loads libnccom by itself
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
  meta = meta // {
    description = "AWS Neuron's runtime, its collectives, neuron-ls and neuron-top";
  };
}
