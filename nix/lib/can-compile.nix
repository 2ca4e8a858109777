# Type: AttrSet -> String -> String -> Bool
# Whether the nvcc of a CUDA release compiles for a compute capability, by targets/rules.toml.
rules: toolkit: capability:
let
  row = rules.capabilities.${capability};
  inherit (builtins) compareVersions;
in
compareVersions toolkit row.first >= 0 && (!(row ? last) || compareVersions toolkit row.last <= 0)
