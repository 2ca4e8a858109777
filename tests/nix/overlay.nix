# The overlay on the embedded base.
let
  import' = overlays: import ../../nix/debian { inherit overlays; };
  without = import' [ ];
  with' = import' [ (import ../../overlays) ];
in
{
  "it adds one name" = {
    expr = builtins.attrNames (removeAttrs with' (builtins.attrNames without));
    expected = [ "vllmPackages" ];
  };
  "it changes no package" = {
    expr = map (name: with'.${name}.drvPath) [
      "python311"
      "gcc"
      "cmake"
    ];
    expected = map (name: without.${name}.drvPath) [
      "python311"
      "gcc"
      "cmake"
    ];
  };
  "a later overlay replaces a component" = {
    expr =
      (import' [
        (import ../../overlays)
        (_: prev: {
          vllmPackages = prev.vllmPackages.overrideScope (_: _: { python = "another"; });
        })
      ]).vllmPackages.python;
    expected = "another";
  };
}
