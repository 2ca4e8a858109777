# Type: Derivation
# libcuda.so to link with: of the driver's library, which is on the host at run time, the linker needs its name alone.
{ runCommandCC }:
runCommandCC "libcuda-stub" { } ''
  mkdir -p $out/lib/stubs
  $CC -shared -Wl,-soname,libcuda.so.1 -o $out/lib/stubs/libcuda.so -x c /dev/null
''
