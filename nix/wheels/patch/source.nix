# Type: { pname, version, src, replacements, postPatch ? "", meta ? { } } -> Derivation
# A source as a folder, with the replacements made that its version needs (due.nix). One whose text
# is gone fails the build.
{
  due,
  lib,
  stdenvNoCC,
}:
{
  pname,
  version,
  src,
  replacements,
  postPatch ? "",
  meta ? { },
}:
let
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
  inherit meta version src;
  postPatch = lib.concatMapStringsSep "\n" replace (due version replacements) + "\n" + postPatch;
  dontConfigure = true;
  dontBuild = true;
  installPhase = "cp -r . $out";
  dontFixup = true;
}
