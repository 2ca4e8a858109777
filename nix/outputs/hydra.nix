# The components of each target as jobs: what a builder compiles and a cache keeps, one by one; but for what
# must not be published, which says so as nixpkgs' packages do.
system: pkgs:
let
  inherit (pkgs) lib vllmPackages;
  jobs =
    name: target:
    let
      scope = vllmPackages.${name};
      sources = lib.filter (each: target ? ${each}) [
        "cutlass"
        "nccl"
        "vllm-flash-attn"
      ];
    in
    lib.filterAttrs (_: job: job.meta.hydraPlatforms or null != [ ]) (
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
      )
    );
in
lib.mapAttrs jobs ((import ../lib).lockedTargets system)
