# Type: AttrSet -> String
# The digest of what a target's lock resolves, which the lock carries: one that has another is older than its
# target. vllm_nix.locks.requirements makes the same string.
target:
let
  wheels = target.wheels or { };
  sorted = builtins.sort builtins.lessThan;
  # What is built here is in no lock; what its release requires is.
  releaseOf = name: target.sdists.${name} or target.${name}.version or target.neuron.sdk or "";
in
"sha256:${
  builtins.hashString "sha256" (
    builtins.toJSON {
      inherit (target) python;
      require = sorted target.requirements;
      made = sorted (map (name: "${name}==${releaseOf name}") target.components);
      exclude = sorted (wheels.exclude or [ ]);
      override = sorted (wheels.override or [ ]);
      platform = wheels.platform or "manylinux_2_28";
      before = wheels.before or "";
      index = wheels.index or { };
    }
  )
}"
