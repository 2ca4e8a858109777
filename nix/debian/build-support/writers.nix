# Files from text.
{
  lib,
  runCommandLocal,
  stdenvNoCC,
}:
let
  inherit (stdenvNoCC) shell;
  checkShell = ''${shell} -n "$target"'';
in
rec {
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

  writeText = name: text: writeTextFile { inherit name text; };

  writeScript =
    name: text:
    writeTextFile {
      inherit name text;
      executable = true;
    };

  writeScriptBin =
    name: text:
    writeTextFile {
      inherit name text;
      executable = true;
      destination = "/bin/${name}";
      meta.mainProgram = name;
    };

  writeShellScript =
    name: text:
    writeTextFile {
      inherit name;
      text = "#!${shell}\n${text}\n";
      executable = true;
      checkPhase = checkShell;
    };

  writeShellScriptBin =
    name: text:
    writeTextFile {
      inherit name;
      text = "#!${shell}\n${text}\n";
      executable = true;
      destination = "/bin/${name}";
      checkPhase = checkShell;
      meta.mainProgram = name;
    };

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
