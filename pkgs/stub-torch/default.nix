# A torch for builds that only ask it whether there is an accelerator: vLLM without extensions.
{ python, runCommand }:
runCommand "stub-torch" { } ''
  mkdir -p $out/${python.sitePackages}
  cp -r ${./torch} $out/${python.sitePackages}/torch
''
