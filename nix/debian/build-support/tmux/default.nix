# Type: Derivation -> Derivation
# Debian's tmux, with the locale C.UTF-8 that lies beside it: see locale.c.
{ patchelf, runCommandCC }:
tmux:
runCommandCC "tmux"
  {
    pname = "tmux";
    nativeBuildInputs = [ patchelf ];
    inherit (tmux) meta;
  }
  ''
    mkdir -p $out/bin $out/lib
    cc -O2 -Wall -Werror -shared -fPIC -DLOCALES='"${tmux}/lib/locale"' -o $out/lib/liblocale.so ${./locale.c}
    cp ${tmux}/bin/tmux $out/bin
    chmod u+w $out/bin/tmux
    patchelf --add-needed $out/lib/liblocale.so $out/bin/tmux
  ''
