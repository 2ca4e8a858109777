# Type: AttrSet -> AttrSet -> AttrSet
# Some parameters over a target's, table by table; a list goes in the other's place.
let
  inherit (builtins) isAttrs mapAttrs;
  over =
    base: own:
    base
    // mapAttrs (
      name: value:
      if isAttrs value && isAttrs (base.${name} or null) then over base.${name} value else value
    ) own;
in
over
