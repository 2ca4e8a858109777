# Type: { target, wheels } -> { name = Derivation }
# `passthru.tests` of an environment, which need no accelerator, no network and no home. The wheels are the
# environment's own; util-linux is not, for lscpu asks /sys, which a sandbox lacks.
{
  environment,
  lib,
  pkgs,
  python,
  runCommand,
  vllm-nix,
  writeTextFile,
}:
arguments@{ target, ... }:
let
  lscpu = writeTextFile {
    name = "lscpu";
    destination = "/bin/lscpu";
    executable = true;
    text = ''
      #!${python.interpreter}
      import json, os
      rows = [{"cpu": n, "core": n, "node": 0} for n in sorted(os.sched_getaffinity(0))]
      print(json.dumps({"cpus": rows}))
    '';
  };
  tested = environment.override {
    pkgs = pkgs // {
      util-linux = lscpu;
    };
  } arguments;
  needsHost = target ? cann || target ? neuron; # its own software, without which vLLM does not start
in
lib.optionalAttrs (!needsHost) {
  verify = runCommand "vllm-${target.name}-verified" { } ''
    ${vllm-nix}/bin/vllm-nix verify ${tested} --timeout 900 | tee $out
    [[ ''${PIPESTATUS[0]} == 0 ]]
  '';
}
// lib.optionalAttrs (target.vllm.device == "cpu") {
  serve =
    runCommand "vllm-${target.name}-serves"
      {
        PYTHONPATH = lib.makeSearchPath python.sitePackages [
          vllm-nix
          python.pkgs.packaging
        ];
      }
      ''
        cp ${../../../tests/end-to-end/server.py} server.py
        cp ${../../../tests/end-to-end/serve.py} serve.py
        ${python.interpreter} serve.py ${tested} | tee $out
        [[ ''${PIPESTATUS[0]} == 0 ]]
      '';
}
