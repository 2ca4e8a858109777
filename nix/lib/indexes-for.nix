# Type: String -> AttrSet -> AttrSet
# The addresses of a target's own indexes for a system, by the packages that they have.
system: target:
let
  all = target.wheels.index or { };
  holds = name: builtins.elem system all.${name}.systems;
in
builtins.listToAttrs (
  map (name: {
    inherit name;
    value = all.${name}.url;
  }) (builtins.filter holds (builtins.attrNames all))
)
