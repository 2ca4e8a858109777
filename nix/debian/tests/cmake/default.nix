# A CMake and Ninja project: a shared library with zlib, a program with it, both installed.
{
  stdenv,
  cmake,
  ninja,
  zlib,
}:
stdenv.mkDerivation {
  name = "test-cmake";
  src = ./.;
  nativeBuildInputs = [
    cmake
    ninja
  ];
  buildInputs = [ zlib ];
  doCheck = true;
  doInstallCheck = true;
  installCheckPhase = ''
    [[ $($out/bin/ask) == 3421780262 ]]
    if patchelf --print-rpath $out/bin/ask | grep -q "$NIX_BUILD_TOP"; then exit 1; fi
  '';
}
