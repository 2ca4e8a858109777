# Targets by name: each folder of nix/targets that holds a target.toml, loaded and checked.
{
  directory,
  checkSchema,
  checkRules,
  withProfiles,
}:
let
  entries = builtins.readDir directory;
  names = builtins.filter (
    name: entries.${name} == "directory" && builtins.pathExists (directory + "/${name}/target.toml")
  ) (builtins.attrNames entries);

  # Type: checkTarget :: String -> AttrSet -> AttrSet
  # The parameters of target `name` from its file's data; throws what is wrong with them.
  checkTarget =
    name: own:
    let
      file = "nix/targets/${name}/target.toml";
      data = withProfiles own;
      checked = checkRules file (checkSchema file data);
    in
    builtins.seq checked (
      data
      // {
        inherit name;
        environment = import ./environment.nix data;
        requirements = import ./requirements.nix data;
        components = import ./components.nix data;
      }
    );
  readTarget = name: builtins.fromTOML (builtins.readFile (directory + "/${name}/target.toml"));
  load =
    names:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = checkTarget name (readTarget name);
      }) names
    );
  lockFile = name: system: directory + "/${name}/pylock.${system}.toml";
in
{
  inherit checkTarget lockFile;

  targets = load names;

  # Type: lockedTargets :: String -> AttrSet
  # The targets whose wheels are locked for a system, so that they can be assembled.
  lockedTargets =
    system: load (builtins.filter (name: builtins.pathExists (lockFile name system)) names);

  # Type: loadTarget :: String -> AttrSet
  loadTarget =
    name:
    if builtins.elem name names then
      checkTarget name (readTarget name)
    else
      throw "unknown target '${name}'; there are: ${builtins.concatStringsSep ", " names}";
}
