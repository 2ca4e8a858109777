# Type: { pname, archives, needs } -> Derivation
# Some of NVIDIA's wheels and of Debian's packages as a toolkit folder: bin, include, lib, nvvm.
{
  lib,
  stdenv,
  autoPatchelfHook,
  libNoBinSh,
  unzip,
  xz,
  zlib,
}:
{
  pname,
  archives,
  needs,
}:
stdenv.mkDerivation {
  inherit pname;
  inherit (lib.head archives) version;
  srcs = map (archive: archive.src) archives;
  nativeBuildInputs = [
    autoPatchelfHook
    unzip
    xz
  ];
  buildInputs = [
    (lib.getLib stdenv.cc.cc)
    zlib
  ]
  ++ needs;
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
    for archive in $srcs; do
      case $archive in
        *.whl) unzip -q $archive -d wheel -x '*.dist-info/*' '*/__init__.py' ;;
        *.deb) ar p $archive data.tar.xz | tar -xJ ;;
      esac
    done
    for folder in wheel/nvidia/*/; do cp -r $folder* $out/; done
    if [[ -d usr ]]; then source ${./from-debian.sh}; fi
    rm -rf $out/cuda_cccl/.metadata
    if [[ -d $out/cuda_cccl ]]; then
      cp -r $out/cuda_cccl/* $out/
      rm -r $out/cuda_cccl
      # Without nvcc beside them, nothing else leads to these headers.
      for folder in $out/include/cccl/*; do
        [[ -e $out/include/''${folder##*/} ]] || ln -s cccl/''${folder##*/} $out/include/
      done
    fi
    find $out -name __pycache__ -prune -exec rm -r {} +
    find $out -type f -exec chmod 644 {} +
    find $out/bin $out/nvvm/bin -maxdepth 1 -type f ! -name '*.profile' -exec chmod 755 {} + 2> /dev/null || true
    for library in $out/lib/lib*.so.*; do
      link=''${library%%.so.*}.so
      [[ -e $link ]] || ln -s ''${library##*/} $link
    done
    # CUDA 12's wheels have no static libraries, which nvcc asks for. A linker takes a text for a script;
    # what would really need libcudadevrt, kernels that start kernels, does not link.
    if [[ -e $out/lib/libcudart.so && ! -e $out/lib/libcudart_static.a ]]; then
      echo 'INPUT(-lcudart)' > $out/lib/libcudart_static.a
      ar rc $out/lib/libcudadevrt.a
    fi
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
  meta = {
    mainProgram = if pname == "cuda_cuobjdump" then "cuobjdump" else "nvcc";
    license = import ./license.nix lib pname;
  };
}
