# Files from text.
{
  lib,
  runCommandLocal,
  stdenvNoCC,
}:
let
  inherit (stdenvNoCC) shell;
  checkShell = ''${shell} -n "$target"'';

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      checkPhase ? "",
      meta ? { },
      passthru ? { },
    }:
    runCommandLocal name
      {
        inherit
          text
          executable
          destination
          checkPhase
          meta
          passthru
          ;
        passAsFile = [ "text" ];
      }
      ''
        target=$out$destination
        mkdir -p "''${target%/*}"
        mv "$textPath" "$target"
        if [[ -n $executable ]]; then chmod +x "$target"; fi
        eval "$checkPhase"
      '';

  shellScript = name: text: {
    inherit name;
    text = "#!${shell}\n${text}\n";
    executable = true;
    checkPhase = checkShell;
  };
  inBin = name: {
    destination = "/bin/${name}";
    meta.mainProgram = name;
  };
in
{
  inherit writeTextFile;
  writeText = name: text: writeTextFile { inherit name text; };
  writeScript =
    name: text:
    writeTextFile {
      inherit name text;
      executable = true;
    };
  writeScriptBin =
    name: text:
    writeTextFile (
      {
        inherit name text;
        executable = true;
      }
      // inBin name
    );
  writeShellScript = name: text: writeTextFile (shellScript name text);
  writeShellScriptBin = name: text: writeTextFile (shellScript name text // inBin name);
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      meta ? { },
    }:
    writeTextFile {
      inherit name;
      destination = "/bin/${name}";
      executable = true;
      text = lib.concatLines (
        [
          "#!${shell}"
          "set -o errexit -o nounset -o pipefail"
        ]
        ++ lib.optional (runtimeInputs != [ ]) ''export PATH="${lib.makeBinPath runtimeInputs}:$PATH"''
        ++ [ text ]
      );
      checkPhase = checkShell;
      meta = {
        mainProgram = name;
      }
      // meta;
    };
}
