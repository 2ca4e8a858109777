# The models of vLLM's Neuron backend. The registry's package of this name is a placeholder; the source,
# Apache-2.0, is on GitHub: the commit of SDK 2.16, of December 28th, 2023.
{
  buildWheel,
  fetchFromGitHub,
  python,
}:
buildWheel rec {
  pname = "transformers-neuronx";
  version = "0.9.20231228"; # setup.py would take the day of the build
  src = fetchFromGitHub {
    owner = "aws-neuron";
    repo = "transformers-neuronx";
    rev = "8b01968f57ba29b8e3365e5a1424b74382ae8902";
    sha256 = "5f49fed6ad42e086f9669bdc1f878ed070fbb243c7251c6f4942ddc042c7a4ec";
  };
  build-system = [
    python.pkgs.setuptools
    python.pkgs.wheel
  ];
  TRANSFORMERS_NEURONX_VERSION = version;
}
