# Type: { pname, version, src, replacements } -> Derivation
# A source as a folder, with the replacements made that its version needs, each
# `{ from ? "0", before ? null, file, old, new }`. One whose text is gone fails the build.
{ lib, stdenvNoCC }:
{
  pname,
  version,
  src,
  replacements,
}:
let
  isDue =
    {
      from ? "0",
      before ? null,
      ...
    }:
    lib.versionAtLeast version from && (before == null || lib.versionOlder version before);
  replace =
    each:
    "substituteInPlace ${
      lib.escapeShellArgs [
        each.file
        "--replace-fail"
        each.old
        each.new
      ]
    }";
in
stdenvNoCC.mkDerivation {
  pname = "${pname}-source";
  inherit version src;
  postPatch = lib.concatMapStringsSep "\n" replace (lib.filter isDue replacements);
  dontConfigure = true;
  dontBuild = true;
  installPhase = "cp -r . $out";
  dontFixup = true;
}
