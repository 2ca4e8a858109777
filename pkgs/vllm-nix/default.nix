# The library and the command, with the target files that they read.
{ lib, python }:
let
  root = ../..;
  kept = [
    "python"
    "nix/targets"
    "nix/debian"
  ]
  ++ lib.filter (file: builtins.pathExists (root + "/${file}")) (
    lib.concatMap (package: [
      "pkgs/${package}/sdk.toml"
      "pkgs/${package}/sources.toml"
    ]) (lib.attrNames (builtins.readDir ../.))
  );
  # setup reads pyproject.toml, src, and through src/vllm_nix/data what it links to.
  src = builtins.path {
    path = root;
    name = "vllm-nix-source";
    filter =
      path: _:
      let
        relative = lib.removePrefix "${toString root}/" path;
      in
      builtins.any (
        folder:
        relative == folder || lib.hasPrefix "${folder}/" relative || lib.hasPrefix "${relative}/" folder
      ) kept;
  };
in
python.pkgs.buildPythonApplication {
  pname = "vllm-nix";
  version = (builtins.fromTOML (builtins.readFile ../../python/pyproject.toml)).project.version;
  pyproject = true;
  inherit src;
  sourceRoot = "vllm-nix-source/python";
  build-system = [ python.pkgs.setuptools ];
  dependencies = [
    python.pkgs.packaging
    python.pkgs.rich
  ];
  pythonImportsCheck = [ "vllm_nix" ];
  meta = {
    description = "vLLM on the accelerator that you have: targets, fetching, verification";
    mainProgram = "vllm-nix";
  };
}
