# gcc and g++, and the linker beneath them, as the base's builds and its running programs use them.
{
  lib,
  bootstrap,
  platform,
  installed,
}:
let
  wrapper = bootstrap.runBusybox "gcc-wrapper" (builtins.readFile ./build.sh) {
    inherit (platform) loader triplet;
    inherit (installed) bash binutils glibc;
    gcc = installed.gcc;
    gccLib = installed.gcc-lib;
    glibcDev = installed.glibc-dev;
    gccScript = ./gcc.sh;
    ldScript = ./ld.sh;
    hook = ./setup-hook.sh;
    drivers = [
      "gcc"
      "g++"
      "cpp"
    ];
    linkers = [
      "ld"
      "ld.bfd"
      "ld.gold"
    ];
  };
  dynamicLinker = "${installed.glibc}/lib/${platform.loader}";
  libc = installed.glibc // {
    dev = installed.glibc-dev;
  };
in
wrapper
// {
  pname = "gcc";
  version = "12";
  isGNU = true;
  isClang = false;
  targetPrefix = "";
  inherit libc;
  cc = installed.gcc // {
    version = "12";
    lib = installed.gcc-lib;
    isGNU = true;
  };
  bintools = wrapper // {
    inherit dynamicLinker libc;
    bintools = installed.binutils;
  };
  meta.mainProgram = "gcc";
}
