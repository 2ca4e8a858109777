# Type: AttrSet -> AttrSet -> AttrSet
# A target's data, each of its serve profiles over what targets/profiles.toml says of it.
shared: data:
let
  inherit (builtins) isAttrs mapAttrs;
  # What is no table stays as it is, for the schema to name.
  over =
    name: own: if isAttrs own then shared.common // (shared.profile.${name} or { }) // own else own;
in
if isAttrs (data.serve or null) then data // { serve = mapAttrs over data.serve; } else data
