# Libraries with code for several devices, as nvcc makes them: of one unit, and of two that the device linker
# joined.
{
  system ? "x86_64-linux",
}:
let
  inherit (import ../../../nix/debian { inherit system; }) cudaPackages python311 stdenv;
in
{
  inherit (cudaPackages) cuda_cuobjdump;
  python = python311;
  libraries = stdenv.mkDerivation {
    name = "slim-test-libraries";
    src = ./.;
    nativeBuildInputs = [ cudaPackages.cuda_nvcc ];
    buildInputs = [
      cudaPackages.cuda_cccl
      cudaPackages.cuda_cudart
    ];
    buildPhase = ''
      devices=
      for sm in 75 80 86 90 100; do
        devices+=" -gencode arch=compute_$sm,code=sm_$sm"
      done
      devices+=" -gencode arch=compute_90,code=compute_90"
      nvcc $devices -no-compress -Xcompiler -fPIC -shared -o libplain.so kernels.cu
      nvcc $devices -no-compress -rdc=true -Xcompiler -fPIC -shared -o librelocatable.so near.cu far.cu
    '';
    installPhase = "install -D --target-directory=$out/lib *.so";
  };
}
