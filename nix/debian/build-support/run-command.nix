# Small derivations made of one script.
{
  lib,
  stdenv,
  stdenvNoCC,
}:
let
  run =
    stdenv: local: name: attributes: buildCommand:
    stdenv.mkDerivation (
      {
        inherit name buildCommand;
        passAsFile = [ "buildCommand" ] ++ attributes.passAsFile or [ ];
      }
      // lib.optionalAttrs local {
        preferLocalBuild = true;
        allowSubstitutes = false;
      }
      // removeAttrs attributes [ "passAsFile" ]
    );
in
{
  runCommand = run stdenvNoCC false;
  runCommandLocal = run stdenvNoCC true;
  runCommandCC = run stdenv false;
}
