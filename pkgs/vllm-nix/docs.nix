# The documents as a site, with a search that needs no server: `xdg-open result/index.html`.
{
  lib,
  python,
  runCommand,
}:
let
  # The documents link to files of all these.
  kept = "docs|nix|pkgs|python|templates|tests";
  root = toString ../..;
  src = builtins.path {
    path = ../..;
    name = "vllm-nix-documents";
    filter =
      path: _:
      builtins.match "(${kept})(/.*)?" (lib.removePrefix "${root}/" path) != null
      && builtins.match "[.].*|result.*|__pycache__|.*[.]egg-info" (baseNameOf path) == null;
  };
  interpreter = python.withPackages (packages: [
    packages.furo
    packages.myst-parser
    packages.packaging
    packages.rich
    packages.sphinx
    packages.sphinx-argparse
  ]);
in
runCommand "vllm-nix-docs"
  {
    nativeBuildInputs = [ interpreter ];
    passthru.tests = { };
    meta.description = "vllm-nix's documents as a site";
  }
  ''
    export HOME=$TMPDIR
    python -m sphinx --fail-on-warning --keep-going -q -b html -d $TMPDIR/doctrees ${src}/docs $out
    rm -r $out/.buildinfo $out/objects.inv
  ''
