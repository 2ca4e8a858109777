# Folders of links.
{ lib, runCommandLocal }:
let
  symlinkJoin =
    {
      name ? "${arguments.pname}-${arguments.version}",
      paths,
      postBuild ? "",
      meta ? { },
      passthru ? { },
      nativeBuildInputs ? [ ],
      ...
    }@arguments:
    runCommandLocal name
      (
        {
          inherit
            meta
            passthru
            paths
            nativeBuildInputs
            ;
        }
        // lib.optionalAttrs (arguments ? pname) { inherit (arguments) pname; }
        // lib.optionalAttrs (arguments ? version) { inherit (arguments) version; }
      )
      ''
        mkdir -p "$out"
        for path in $paths; do
          (cd "$path" && find . -type d -exec mkdir -p "$out/{}" \;)
          (cd "$path" && find . ! -type d) | while read -r file; do
            if [[ ! -e $out/$file && ! -L $out/$file ]]; then ln -s "$path/$file" "$out/$file"; fi
          done
        done
        ${postBuild}
      '';
in
{
  inherit symlinkJoin;

  linkFarm =
    name: entries:
    let
      list =
        if lib.isList entries then
          entries
        else
          lib.mapAttrsToList (name: path: { inherit name path; }) entries;
    in
    runCommandLocal name { } ''
      mkdir -p "$out"
      cd "$out"
      ${lib.concatMapStrings (entry: ''
        mkdir -p "$(dirname ${lib.escapeShellArg entry.name})"
        ln -s ${lib.escapeShellArg "${entry.path}"} ${lib.escapeShellArg entry.name}
      '') list}
    '';
}
