# Type: Derivation -> Derivation
# An environment and all that it needs in one file, SHA256SUMS and a script that unpacks it: docs/size.md. It is
# what `vllm-nix bundle` writes, and has the environment's licence.
{
  runCommand,
  vllm-nix,
  zstd,
}:
environment:
runCommand "${environment.name}-bundle"
  {
    nativeBuildInputs = [
      vllm-nix
      zstd
    ];
    exportReferencesGraph = [
      "graph"
      environment
    ];
    meta = removeAttrs environment.meta [ "mainProgram" ];
  }
  ''
    # With a path come its deriver, which is left empty, and the paths that it refers to.
    grep "^$NIX_STORE/" graph | sort --unique > closure
    vllm-nix bundle ${environment} -o $out/${environment.name}.tar.zst --store-paths closure
  ''
