# Type: Derivation -> Derivation
# A package whose programs start the base's shell where they name /bin/sh.
{
  bash,
  coreutils,
  libNoBinSh,
  patchelf,
}:
package:
derivation {
  inherit (package) name system;
  inherit libNoBinSh package;
  builder = "${bash}/bin/bash";
  args = [
    "-euc"
    ''
      cp -r --no-preserve=ownership $package $out
      chmod -R u+w $out
      for program in $out/bin/*; do
        if [[ ! -L $program ]] && patchelf --print-interpreter $program > /dev/null 2>&1; then
          patchelf --add-needed $libNoBinSh/lib/libno-bin-sh.so $program
        fi
      done
    ''
  ];
  PATH = "${coreutils}/bin:${patchelf}/bin";
}
// {
  inherit (package) pname meta;
}
