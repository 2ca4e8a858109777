# Debian's git runs its parts from /usr/lib/git-core; these are the base's.
{ makeWrapper, symlinkJoin }:
git:
symlinkJoin {
  name = "git";
  pname = "git";
  paths = [ git ];
  nativeBuildInputs = [ makeWrapper ];
  postBuild = ''
    for program in $out/bin/*; do
      rm "$program"
      makeWrapper "${git}/bin/''${program##*/}" "$program" \
        --set-default GIT_EXEC_PATH ${git}/lib/git-core \
        --set-default GIT_TEMPLATE_DIR ${git}/share/git-core/templates
    done
  '';
  inherit (git) meta;
}
