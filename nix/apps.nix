# `nix run .#vllm-cpu -- serve ...`, `nix run .#vllm-nix -- verify ...`
system: pkgs:
builtins.mapAttrs (_: package: {
  type = "app";
  program = "${package}/bin/${package.meta.mainProgram}";
}) (import ./packages.nix system pkgs)
