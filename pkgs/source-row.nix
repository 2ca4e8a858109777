# Type: Path -> String -> String -> Any
# What a sources.toml says of a release of `name`, which has a table there, or else the whole file.
{ lib }:
file: name: release:
let
  data = lib.importTOML file;
  rows = data.${name} or data;
in
rows.${release}
  or (throw "no source of ${name} ${release} is known; there are: ${lib.concatStringsSep ", " (lib.attrNames rows)}; another one goes into pkgs/${baseNameOf (dirOf file)}/sources.toml")
