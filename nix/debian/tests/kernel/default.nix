# One kernel for Jetson Orin, as a library that holds code for sm_87 and nothing else.
{ cudaPackages, stdenv }:
stdenv.mkDerivation {
  name = "test-kernel";
  src = ./.;
  nativeBuildInputs = [ cudaPackages.cuda_nvcc ];
  buildInputs = [
    cudaPackages.cuda_cccl
    cudaPackages.cuda_cudart
  ];
  buildPhase = ''
    nvcc -gencode arch=compute_87,code=sm_87 -Xcompiler -fPIC -shared -o libkernel.so kernel.cu
  '';
  disallowedRequisites = [ cudaPackages.cuda_nvcc ];
  installPhase = "install -D libkernel.so $out/lib/libkernel.so";
}
