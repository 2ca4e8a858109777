{ makeSetupHook, stdenv }:
makeSetupHook {
  name = "auto-patchelf-hook";
  substitutions = {
    loader = stdenv.cc.bintools.dynamicLinker;
    libc = "${stdenv.cc.libc}/lib";
  };
} ./auto-patchelf.sh
