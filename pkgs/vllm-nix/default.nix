# The library and the command, with the target files that they read.
{
  callPackage,
  lib,
  python,
}:
let
  root = ../..;
  kept = [
    "LICENSE"
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
  # setuptools reads pyproject.toml, src, and through links the licence and src/vllm_nix/data.
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
  version = builtins.head (
    builtins.match ".*\n__version__ = \"([0-9.]+)\".*" (
      builtins.readFile ../../python/src/vllm_nix/version.py
    )
  );
  pyproject = true;
  inherit src;
  sourceRoot = "vllm-nix-source/python";
  build-system = [ python.pkgs.setuptools ];
  dependencies = [
    python.pkgs.packaging
    python.pkgs.rich
  ];
  pythonImportsCheck = [ "vllm_nix" ];
  postInstall = ''
    $CC -std=gnu11 -O2 -Wall -Werror -D_GNU_SOURCE -DCOMMAND="\"$out/bin/.vllm-nix\"" \
      ${./archs}/*.c -o $out/bin/.archs

    # Where man, bash, fish and zsh look, of a profile too.
    ours() { PYTHONPATH=$out/${python.sitePackages}:$PYTHONPATH ${python.interpreter} -m "$@"; }
    mkdir -p $out/share/{man/man1,bash-completion/completions,fish/vendor_completions.d,zsh/site-functions}
    ours vllm_nix.cli.man >$out/share/man/man1/vllm-nix.1
    ours vllm_nix completion bash >$out/share/bash-completion/completions/vllm-nix
    ours vllm_nix completion fish >$out/share/fish/vendor_completions.d/vllm-nix.fish
    ours vllm_nix completion zsh >$out/share/zsh/site-functions/_vllm-nix
  '';
  # A single library is read in C, all else by Python's script, once that is wrapped.
  postFixup = ''
    mv $out/bin/vllm-nix $out/bin/.vllm-nix
    mv $out/bin/.archs $out/bin/vllm-nix
  '';
  passthru = {
    testDependencies = import ./test-dependencies.nix;
    tests.library = callPackage ./tests.nix { };
    docs = callPackage ./docs.nix { };
    slim = callPackage ./slim.nix { };
  };
  meta = {
    description = "vLLM on the accelerator that you have: targets, fetching, verification";
    license = lib.licenses.asl20;
    mainProgram = "vllm-nix";
  };
}
