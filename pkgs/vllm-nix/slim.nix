# `vllm-nix slim` alone, for builds: slim wheels stay as they are when something else of the library changes.
{
  lib,
  python,
  runCommand,
}:
let
  root = ../../python/src/vllm_nix;
  kept = [
    "__init__.py"
    "__main__.py"
    "binaries"
    "cli/__init__.py"
    "cli/parsers.py"
    "cli/slim.py"
    "data/__init__.py"
    "errors.py"
    "gpu"
    "light.py"
    "paths.py"
    "process.py"
    "scratch.py"
    "since_311.py"
    "store.py"
    "supervisor.py"
    "text.py"
    "version.py"
  ];
  source = builtins.path {
    path = root;
    name = "vllm_nix";
    filter =
      path: _:
      let
        relative = lib.removePrefix "${toString root}/" path;
      in
      baseNameOf path != "__pycache__"
      && builtins.any (
        name: relative == name || lib.hasPrefix "${name}/" relative || lib.hasPrefix "${relative}/" name
      ) kept;
  };
in
runCommand "vllm-nix-slim"
  {
    library = source;
    capabilities = ../../nix/targets/capabilities.toml;
    interpreter = python.interpreter;
  }
  ''
    mkdir -p $out/{bin,lib}
    cp -r $library $out/lib/vllm_nix
    chmod -R u+w $out
    install -Dm444 $capabilities $out/lib/vllm_nix/data/targets/capabilities.toml
    cat >$out/bin/vllm-nix <<EOF
    #!$SHELL
    PYTHONPATH=$out/lib exec $interpreter -sP -m vllm_nix "\$@"
    EOF
    chmod +x $out/bin/vllm-nix

    # All that it takes is there: what functions import, too.
    cd $out/lib
    files=$(echo vllm_nix/{binaries,gpu}/*.py)
    modules="''${files//.py/} $(sed -n 's/^ *from \(vllm_nix[a-z_.]*\) import.*/\1/p' $files)"
    for module in ''${modules//\//.}; do
      echo "import $module"
    done | sort -u | PYTHONDONTWRITEBYTECODE=1 $interpreter -
    $interpreter -m compileall -q --invalidation-mode unchecked-hash vllm_nix
    $out/bin/vllm-nix slim --help >/dev/null
  ''
