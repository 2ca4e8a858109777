# Type: { name, version } -> Path
# The wheel of a pure Python package that is in the registry as a source archive only; a target names
# it in `sdists`.
{
  buildWheel,
  lib,
  python,
  registrySource,
}:
{ name, version }:
buildWheel {
  pname = name;
  inherit version;
  src = registrySource {
    pname = name;
    inherit version;
    rows =
      let
        all = builtins.fromTOML (builtins.readFile ./sources.toml);
      in
      all.${name}
        or (throw "no source of ${name} is known; there are: ${lib.concatStringsSep ", " (lib.attrNames all)}");
  };
  build-system = [
    python.pkgs.setuptools
    python.pkgs.wheel
  ];
}
