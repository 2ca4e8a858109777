# Targets by name: each folder of nix/targets that holds a target.toml, loaded and checked.
{
  cuda,
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

  over = import ./over.nix;
  extend = import ./extends.nix {
    inherit names;
    read = readOwn;
  };

  file = name: "nix/targets/${name}/target.toml";

  # Type: checkTarget :: String -> AttrSet -> AttrSet
  # The parameters of target `name` from what its file says; throws what is wrong with them.
  checkTarget =
    name: own:
    let
      data = withProfiles (extend (file name) own);
      checked = checkRules (file name) (checkSchema (file name) data);
    in
    builtins.seq checked (
      data
      // {
        inherit name;
        environment = import ./environment.nix cuda data;
        requirements = import ./requirements.nix data;
        components = import ./components.nix data;
      }
    );

  # Type: changeTarget :: AttrSet | (AttrSet -> AttrSet) -> AttrSet -> AttrSet
  # A target with other parameters, given or made of its own, checked as its file is.
  changeTarget =
    change: target:
    checkTarget target.name (
      removeAttrs (if builtins.isFunction change then change target else over target change) [
        "name"
        "environment"
        "requirements"
        "components"
      ]
    );
  readOwn = name: builtins.fromTOML (builtins.readFile (directory + "/${name}/target.toml"));
  targets = builtins.listToAttrs (
    map (name: {
      inherit name;
      value = checkTarget name (readOwn name);
    }) names
  );
  lockFile = name: system: directory + "/${name}/pylock.${system}.toml";
in
{
  inherit
    changeTarget
    checkTarget
    lockFile
    targets
    ;

  # Type: lockedTargets :: String -> AttrSet
  # The targets whose wheels are locked for a system, so that they can be assembled.
  lockedTargets =
    system:
    removeAttrs targets (builtins.filter (name: !builtins.pathExists (lockFile name system)) names);
}
