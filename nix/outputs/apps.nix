# `nix run .#vllm-cpu -- serve ...`, `nix run .#vllm-nix -- verify ...`
system: pkgs:
builtins.mapAttrs (name: package: {
  type = "app";
  meta.description = "${name}'s ${package.meta.mainProgram}";
  program = "${package}/bin/${package.meta.mainProgram}";
}) (import ./packages.nix system pkgs)
