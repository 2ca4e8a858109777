# Type: { name, version } -> Path
# The wheel of a pure Python package that is in the registry as a source archive only; a target names
# it in `sdists`.
{
  buildWheel,
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
    sources = ./sources.toml;
  };
  build-system = [
    python.pkgs.setuptools
    python.pkgs.wheel
  ];
}
