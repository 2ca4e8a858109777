# What programs that start /bin/sh are linked with: see shell.c.
{
  bash,
  coreutils,
  gcc,
}:
derivation {
  name = "no-bin-sh";
  inherit (gcc) system;
  source = ./shell.c;
  shell = "${bash}/bin/bash";
  builder = "${bash}/bin/bash";
  args = [
    "-euc"
    ''
      mkdir -p $out/lib
      gcc -O2 -Wall -Werror -shared -fPIC -DSHELL="\"$shell\"" -o $out/lib/libno-bin-sh.so $source
    ''
  ];
  PATH = "${coreutils}/bin:${gcc}/bin";
}
