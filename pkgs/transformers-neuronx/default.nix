# The models of vLLM's Neuron backend. The registry's package of this name is a placeholder; the source,
# Apache-2.0, is on GitHub: the last commit before each SDK, which tags none.
{
  buildWheel,
  fetchFromGitHub,
  lib,
  python,
  target,
}:
let
  releases = {
    "2.16.0" = {
      version = "0.9.20231228"; # setup.py would take the day of the build
      rev = "8b01968f57ba29b8e3365e5a1424b74382ae8902";
      sha256 = "5f49fed6ad42e086f9669bdc1f878ed070fbb243c7251c6f4942ddc042c7a4ec";
    };
    "2.21.1" = {
      version = "0.13.20241226";
      rev = "1ade6d74224a89fb6366ded52153e2f32781e20d";
      sha256 = "1f2a7be4481e4f90bd1fa21185a1a998df67a0f5d76ce57183039ca080bbe133";
    };
  };
  inherit (target.neuron) sdk;
  release =
    releases.${sdk}
      or (throw "no source of transformers-neuronx for AWS Neuron's SDK ${sdk} is known; there are those for ${lib.concatStringsSep ", " (lib.attrNames releases)}");
in
buildWheel rec {
  pname = "transformers-neuronx";
  inherit (release) version;
  src = fetchFromGitHub {
    owner = "aws-neuron";
    repo = "transformers-neuronx";
    inherit (release) rev sha256;
  };
  build-system = [
    python.pkgs.setuptools
    python.pkgs.wheel
  ];
  TRANSFORMERS_NEURONX_VERSION = version;
  meta = {
    description = "Models of transformers for AWS Neuron";
    homepage = "https://github.com/aws-neuron/transformers-neuronx";
    license = lib.licenses.asl20;
  };
}
