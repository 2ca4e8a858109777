# `nix develop .#jetson`: what compiles a target's vLLM, and its patched source as $src, so that
# `python setup.py bdist_wheel` works by hand.
{
  lib,
  mkShell,
  vllm,
  vllm-nix,
  tools,
}:
let
  isVariable = key: _: builtins.match "[A-Z][A-Z0-9_]*" key != null;
in
mkShell (
  lib.filterAttrs isVariable vllm.drvAttrs
  // {
    inherit (vllm) src;
    memoryPerJob = vllm.memoryPerJob or null;
    inputsFrom = [ vllm ];
    packages = [ vllm-nix ] ++ tools;
    shellHook = ''
      if setMaxJobs; then
        ${vllm.preBuild}
      else
        unset MAX_JOBS
      fi
    '';
  }
)
