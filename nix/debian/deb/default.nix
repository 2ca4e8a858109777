# The groups of packages.toml as derivations, by name.
{ system, patchelfWheel }:
let
  provided = import ../fetch/provided-file.nix;
  partition = import ./partition.nix;

  platform = (import ./platform.nix).${system};
  data = builtins.fromTOML (builtins.readFile ../packages.toml);
  lockFile = ../debs + ".${system}.json";
  lock = builtins.fromJSON (builtins.readFile lockFile);

  debs = builtins.mapAttrs (_: package: package.src) (
    import ./lock.nix { inherit provided system; } lockFile "debian"
  );

  bootstrap = import ./bootstrap.nix {
    inherit
      system
      platform
      lock
      debs
      patchelfWheel
      ;
  };

  # Without what Python and its tools leave beside a program: it would change all that there is.
  builder = builtins.path {
    path = ./builder;
    filter = path: _: builtins.match ".*\\.py" path != null;
  };

  groups = partition {
    groups = data.group;
    inherit (lock) packages;
  };

  setupHook = name: ../stdenv/setup-hooks + "/${name}.sh";

  install =
    name: group:
    bootstrap.runPython name "${builder}/install.py" {
      inherit (platform) triplet loader;
      inherit (bootstrap) busybox patchelf;
      debs = map (package: debs.${package}) group.packages;
      below = map (each: installed.${each}) group.buildsOn;
      drop = group.drop or [ ];
      links = group.links or { };
      hooks = group.hooks or [ ];
      ${if builtins.pathExists (setupHook name) then "setupHook" else null} = "${setupHook name}";
    };

  installed = builtins.mapAttrs install groups;
in
{
  inherit
    bootstrap
    debs
    installed
    platform
    ;
}
