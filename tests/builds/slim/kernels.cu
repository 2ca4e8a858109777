// A table makes for whole pages of code without any work for the compiler.
__device__ int table[1 << 15] = {1};

__global__ void kernel(int *values) { values[threadIdx.x] = table[values[threadIdx.x]]; }

// The runtime's answer when it looks for the kernel.
extern "C" int find_kernel() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, reinterpret_cast<const void *>(&kernel));
}
