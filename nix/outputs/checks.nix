# What `nix flake check` builds: every target assembled, and the CPU's answering a request in the
# sandbox, without a network or a home. vLLM asks lscpu for the processors, and lscpu asks /sys,
# which the sandbox lacks: add --option extra-sandbox-paths /sys.
system: pkgs:
let
  inherit (pkgs) lib vllmPackages;
  inherit (vllmPackages) python vllm-cpu;
in
import ./packages.nix system pkgs
// lib.optionalAttrs ((import ../lib).lockedTargets system ? cpu) {
  serve =
    pkgs.runCommand "vllm-cpu-serves"
      {
        PYTHONPATH = lib.makeSearchPath python.sitePackages [
          vllmPackages.vllm-nix
          python.pkgs.packaging
        ];
      }
      ''
        if [[ ! -d /sys/devices/system/cpu ]]; then
          echo "vLLM needs /sys, which this sandbox lacks: add --option extra-sandbox-paths /sys"
          exit 1
        fi
        cp ${../../tests/end-to-end/server.py} server.py
        cp ${../../tests/end-to-end/serve.py} serve.py
        ${python.interpreter} serve.py ${vllm-cpu} | tee $out
        [[ ''${PIPESTATUS[0]} == 0 ]]
      '';
}
