# Type: String -> String -> String
# Shell commands for `stubs`/libcuda.so, to link with: the driver's own is on the host, at run time. It defines what
# the cuda.h in `include` declares, for the linker drops a library that is asked for nothing (--as-needed, as
# torch's CMake files have it), and the code that needs the driver would not load it.
include: stubs: ''
  mkdir -p ${stubs}
  find -L ${include} -name cuda.h -exec grep -ohE '\<cu[A-Z][[:alnum:]_]*' {} + |
    sort -u | sed 's/.*/void &(void) {}/' > stub.c
  $CC -w -shared -fPIC -Wl,-soname,libcuda.so.1 -o ${stubs}/libcuda.so stub.c
''
