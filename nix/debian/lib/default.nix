# The part of nixpkgs' lib that overlays use, under the same names.
let
  missing = import ../missing.nix;
  lists = import ./lists.nix;
  parts = {
    inherit lists;
    attrsets = import ./attrsets.nix;
    customisation = import ./customisation.nix { inherit missing; };
    derivations = import ./derivations.nix;
    fixedPoints = import ./fixed-points.nix;
    sources = import ./sources.nix { inherit (parts) strings; };
    strings = import ./strings.nix { inherit lists; };
    trivial = import ./trivial.nix;
    versions = import ./versions.nix;
  };
in
builtins.foldl' (merged: name: merged // parts.${name}) { } [
  "versions"
  "trivial"
  "lists"
  "attrsets"
  "strings"
  "derivations"
  "customisation"
  "fixedPoints"
  "sources"
]
// parts
// {
  licenses = import ./licenses.nix;
  sourceTypes.binaryNativeCode = {
    shortName = "binaryNativeCode";
    isSource = false;
  };
  platforms = import ./platforms.nix;
  maintainers = { };
  systems.flakeExposed = [
    "x86_64-linux"
    "aarch64-linux"
  ];
}
