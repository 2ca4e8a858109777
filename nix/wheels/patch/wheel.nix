# Type: { wheel = { name, version, file, src, ... }, label, replacements } -> Path
# A registry's wheel with the replacements made that its version needs (due.nix), its binaries as they
# are, and the label in its version (PEP 440). One whose text is gone fails the build.
{
  due,
  lib,
  python,
  runCommand,
  writeText,
}:
{
  wheel,
  label,
  replacements,
}:
let
  inherit (wheel) name;
  version = "${wheel.version}+${label}";
  start = "${lib.replaceStrings [ "-" ] [ "_" ] name}-";
  file = lib.replaceStrings [ "${start}${wheel.version}-" ] [ "${start}${version}-" ] wheel.file;
  wanted = writeText "replacements.json" (builtins.toJSON (due wheel.version replacements));
in
runCommand file
  {
    nativeBuildInputs = [ python ];
    passthru = {
      inherit name version file;
      wheel = wheel.src;
    };
  }
  ''
    ${python.interpreter} ${./patch.py} ${wheel.src} $out \
      --version ${version} --replacements ${wanted}
  ''
