#!@shell@
# @driver@ with the base's own headers, start files and linker; ld adds what linking needs. The
# system root holds nothing: without it the compiler would look into the host's /usr.
exec @gcc@/bin/@driver@ \
  -B@bintools@/bin/ -B@libcDev@/lib/ --sysroot=@bintools@ -idirafter @libcDev@/include \
  "$@" ${NIX_CFLAGS_COMPILE-}
