# Type: AttrSet -> String -> AttrSet -> AttrSet
# What a builder compiles and tests, and a cache keeps: all but what must not be published, which says so as
# nixpkgs' packages do.
{ packages, checks, ... }:
system: pkgs:
let
  inherit (pkgs) lib;
  isPublished = _: job: (job.meta.hydraPlatforms or null) != [ ];
  published = lib.filterAttrs isPublished packages.${system};
in
{
  checks = checks.${system};
  packages = published;
  tests = lib.mapAttrs (_: package: package.tests) published;
  components = lib.mapAttrs (_: lib.filterAttrs isPublished) (import ./components.nix system pkgs);
}
