# A development shell: no output of its own, only the environment of its inputs.
{ lib, stdenv }:
{
  name ? "shell",
  packages ? [ ],
  inputsFrom ? [ ],
  nativeBuildInputs ? [ ],
  shellHook ? "",
  ...
}@arguments:
let
  inherited = key: lib.concatMap (each: each.${key} or [ ]) inputsFrom;
in
stdenv.mkDerivation (
  removeAttrs arguments [
    "packages"
    "inputsFrom"
  ]
  // {
    inherit name shellHook;
    nativeBuildInputs = packages ++ nativeBuildInputs ++ inherited "nativeBuildInputs";
    buildInputs = arguments.buildInputs or [ ] ++ inherited "buildInputs";
    phases = [ "buildPhase" ];
    buildPhase = ''export >> "$out"'';
  }
)
