__device__ int far(int value);

__global__ void kernel(int *values) { values[threadIdx.x] = far(values[threadIdx.x]); }

extern "C" int find_kernel() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, reinterpret_cast<const void *>(&kernel));
}
