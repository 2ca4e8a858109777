# Type: { pname, wheels } -> Derivation
# One or more of NVIDIA's wheels as a toolkit folder: bin, include, lib, nvvm.
{
  lib,
  stdenv,
  autoPatchelfHook,
  libNoBinSh,
  unzip,
  zlib,
}:
{ pname, wheels }:
let
  first = lib.head wheels;
in
stdenv.mkDerivation {
  inherit pname;
  inherit (first) version;
  srcs = map (wheel: wheel.src) wheels;
  nativeBuildInputs = [
    autoPatchelfHook
    unzip
  ];
  buildInputs = [
    (lib.getLib stdenv.cc.cc)
    zlib
  ];
  dontUnpack = true;
  dontStrip = true;
  dontPatchELF = true;
  # The driver's, from the host.
  autoPatchelfIgnoreMissingDeps = [
    "libcuda.so.1"
    "libnvidia-ml.so.1"
  ];
  # Libraries also load their neighbours by name.
  appendRunpaths = [ "$ORIGIN" ];
  installPhase = ''
    mkdir $out
    for wheel in $srcs; do unzip -q $wheel -d wheel -x '*.dist-info/*'; done
    for folder in wheel/nvidia/*/; do cp -r $folder* $out/; done
    rm -rf $out/cuda_cccl/.metadata
    if [[ -d $out/cuda_cccl ]]; then
      cp -r $out/cuda_cccl/* $out/
      rm -r $out/cuda_cccl
      # Without nvcc beside them, nothing else leads to these headers.
      for folder in $out/include/cccl/*; do
        [[ -e $out/include/''${folder##*/} ]] || ln -s cccl/''${folder##*/} $out/include/
      done
    fi
    find $out -name __pycache__ -o -name '__init__.py' | xargs rm -rf
    find $out -type f -exec chmod 644 {} +
    find $out/bin $out/nvvm/bin -maxdepth 1 -type f ! -name '*.profile' -exec chmod 755 {} + 2> /dev/null || true
    for library in $out/lib/lib*.so.*; do
      link=''${library%%.so.*}.so
      [[ -e $link ]] || ln -s ''${library##*/} $link
    done
    if [[ -d $out/lib ]]; then ln -s lib $out/lib64; fi
    if [[ -e $out/bin/nvcc ]]; then
      echo "compiler-bindir = ${stdenv.cc}/bin" >> $out/bin/nvcc.profile
    fi
  '';
  postFixup = ''
    if [[ -e $out/bin/nvcc ]]; then
      patchelf --add-needed ${libNoBinSh}/lib/libno-bin-sh.so $out/bin/nvcc
      mkdir $out/nix-support
      substitute ${./setup-hook.sh} $out/nix-support/setup-hook --subst-var out
    fi
  '';
  meta.mainProgram = if pname == "cuda_cuobjdump" then "cuobjdump" else "nvcc";
}
