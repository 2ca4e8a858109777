bin=$out/bin
$busybox mkdir -p "$bin"

script() { # source, program that it starts, name
  $busybox sed \
    -e "s|@shell@|$bash/bin/bash|g" -e "s|@gcc@|$gcc|g" -e "s|@binutils@|$binutils|g" \
    -e "s|@driver@|$2|g" -e "s|@linker@|$2|g" -e "s|@bintools@|$out|g" -e "s|@libc@|$glibc|g" \
    -e "s|@libcDev@|$glibcDev|g" -e "s|@lib@|$gccLib|g" -e "s|@loader@|$loader|g" \
    -e "s|@store@|$NIX_STORE|g" "$1" > "$bin/$3"
  $busybox chmod +x "$bin/$3"
}

for linker in $linkers; do script "$ldScript" "$linker" "$linker"; done
for driver in $drivers; do
  script "$gccScript" "$driver-12" "$driver"
  $busybox ln -s "$driver" "$bin/$driver-12"
  $busybox ln -s "$driver" "$bin/$triplet-$driver"
done
$busybox ln -s gcc "$bin/cc"
$busybox ln -s g++ "$bin/c++"
for tool in gcc-ar gcc-nm gcc-ranlib gcov; do $busybox ln -s "$gcc/bin/$tool-12" "$bin/$tool"; done
for tool in addr2line ar as c++filt nm objcopy objdump ranlib readelf size strings strip; do
  $busybox ln -s "$binutils/bin/$tool" "$bin/$tool"
done
$busybox mkdir "$out/nix-support"
$busybox cp "$hook" "$out/nix-support/setup-hook"
