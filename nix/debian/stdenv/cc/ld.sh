#!@shell@
# @linker@ with the base's own loader, and a RUNPATH to every store folder that it links from: the
# result looks into no library folder of the host, and neither does the linker. (A system root
# would do that too, but the linker then ignores the RUNPATH of what it links with.)
arguments=()
add=(-L@libc@/lib -L@libcDev@/lib -L@lib@/lib)
run=(-rpath @libc@/lib -rpath @lib@/lib)
loader=(-dynamic-linker @libc@/lib/@loader@)
for argument in "$@" ${NIX_LDFLAGS-}; do
  folder=
  case $argument in
    --sysroot=*) continue ;;
    -r | --relocatable | -i) run=() loader=() add=() ;;
    -static | --no-dynamic-linker) run=() loader=() ;;
    -L@gcc@/* | -L@libcDev@/* | -L@bintools@/* | @gcc@/*) ;;
    -L@store@/*) folder=${argument#-L} ;;
    @store@/*.so | @store@/*.so.*) folder=${argument%/*} ;;
  esac
  arguments+=("$argument")
  if [[ -n $folder && ${#run[@]} -gt 0 ]]; then run+=(-rpath "$folder"); fi
done
exec @binutils@/bin/@linker@ -nostdlib --enable-new-dtags \
  "${arguments[@]}" "${add[@]}" "${run[@]}" "${loader[@]}"
