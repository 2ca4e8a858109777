# Type: AttrSet -> { kind = String -> AttrSet -> AttrSet }
# What a builder compiles and tests, and a cache keeps: all but what must not be published, which says so as
# nixpkgs' packages do.
{ packages, checks, ... }:
let
  isPublished = _: job: (job.meta.hydraPlatforms or null) != [ ];
  environments =
    system: pkgs: pkgs.lib.filterAttrs (_: package: package ? published) packages.${system};
  published = system: { lib, ... }: lib.filterAttrs isPublished packages.${system};
in
{
  checks = system: _: checks.${system};
  packages = published;
  # Of environments that are not free, the wheels that are.
  published =
    system: pkgs: builtins.mapAttrs (_: package: package.published) (environments system pkgs);
  tests = system: pkgs: builtins.mapAttrs (_: package: package.tests) (published system pkgs);
  components =
    system: pkgs:
    builtins.mapAttrs (_: pkgs.lib.filterAttrs isPublished) (import ./components.nix system pkgs);
}
