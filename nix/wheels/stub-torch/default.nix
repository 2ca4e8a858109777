# A torch for builds that only ask it whether there is an accelerator: vLLM without extensions, and its
# metadata. `cudaRelease` is a release such as "12.6".
{
  python,
  runCommand,
  cudaRelease ? null,
}:
runCommand "stub-torch" { } ''
  mkdir -p $out/${python.sitePackages}
  cp -r --no-preserve=mode ${./torch} $out/${python.sitePackages}/torch
  substituteInPlace $out/${python.sitePackages}/torch/__init__.py \
    --replace-fail cuda=None ${
      if cudaRelease == null then "cuda=None" else "cuda='\"${cudaRelease}\"'"
    }
''
