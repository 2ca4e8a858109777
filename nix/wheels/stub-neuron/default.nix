# Type: String -> Derivation
# What vLLM's setup.py looks for on a machine with AWS Neuron's SDK, of the release of neuronx-cc that a
# target names. The SDK itself is not in the public registries.
{
  python,
  runCommand,
  stdenv,
}:
version:
runCommand "stub-neuron-${version}" { } ''
  compiler=$out/${python.sitePackages}/neuronxcc/version
  mkdir -p $out/bin $compiler
  echo "__version__ = '${version}'" > $compiler/__init__.py
  # vLLM 0.3.3 builds for Neuron if this runs.
  echo '#!${stdenv.shell}' > $out/bin/neuron-ls
  chmod +x $out/bin/neuron-ls
''
