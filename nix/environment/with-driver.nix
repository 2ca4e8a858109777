# Type: Derivation -> Derivation -> Derivation
# A package's programs, started by an environment's launcher: it knows where the host's driver is, which
# no library of a base looks for.
{ runCommand }:
environment: package:
runCommand package.name { inherit package; } ''
  mkdir -p $out/bin
  for program in $package/bin/*; do
    cat > $out/bin/''${program##*/} <<END
  #!${environment}/bin/python
  import os, sys
  os.execv("$program", sys.argv)
  END
    chmod +x $out/bin/''${program##*/}
  done
''
