# Open MPI finds its parts, and mpicc its compiler's flags, below the store path instead of /usr.
{
  makeWrapper,
  symlinkJoin,
}:
openmpi:
symlinkJoin {
  name = "openmpi";
  pname = "openmpi";
  paths = [ openmpi ];
  nativeBuildInputs = [ makeWrapper ];
  postBuild = ''
    for program in $out/bin/*; do
      rm "$program"
      makeWrapper "${openmpi}/bin/''${program##*/}" "$program" --inherit-argv0 \
        --set-default OPAL_PREFIX ${openmpi} \
        --set-default OPAL_LIBDIR ${openmpi}/lib/openmpi/lib \
        --set-default OPAL_PKGLIBDIR ${openmpi}/lib/openmpi/lib/openmpi3 \
        --set-default OPAL_DATADIR ${openmpi}/share \
        --set-default OPAL_PKGDATADIR ${openmpi}/share/openmpi \
        --set-default OPAL_INCLUDEDIR ${openmpi}/lib/openmpi/include
    done
    for program in $out/bin/*.openmpi; do ln -s ''${program##*/} ''${program%.openmpi}; done
  '';
  inherit (openmpi) meta;
}
