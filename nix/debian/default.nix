# A package set with the shape of nixpkgs, made of Debian packages and registry wheels: README.md
# says what it holds.
{
  system ? builtins.currentSystem,
  overlays ? [ ],
  config ? { },
}:
let
  lib = import ./lib;
  build =
    overlays:
    lib.fix (
      lib.extends (lib.composeManyExtensions overlays) (
        self:
        import ./packages.nix { inherit lib system config; } self
        // {
          extend = overlay: build (overlays ++ [ overlay ]);
          inherit overlays;
        }
      )
    );
  supported = import ./deb/platform.nix;
in
if supported ? ${system} then
  build overlays
else
  throw "nix/debian has no ${system}; it has ${lib.concatStringsSep " and " (lib.attrNames supported)}"
