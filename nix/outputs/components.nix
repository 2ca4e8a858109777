# The components of each target, one by one.
system: pkgs:
let
  inherit (pkgs) lib vllmPackages;
  of =
    name: target:
    let
      scope = vllmPackages.${name};
      sources = lib.filter (each: target ? ${each}) [
        "cutlass"
        "nccl"
        "vllm-flash-attn"
      ];
    in
    lib.genAttrs (
      sources
      ++ lib.optional (target ? nccl || lib.elem "nccl-tests" (target.shell.tools or [ ])) "nccl-tests"
      ++ lib.optional (lib.elem "triton" target.components) "triton-llvm"
    ) (each: scope.${each})
    // builtins.listToAttrs (
      map (wheel: {
        inherit (wheel) name;
        value = wheel;
      }) scope.components
    );
in
lib.mapAttrs of ((import ../lib).lockedTargets system)
