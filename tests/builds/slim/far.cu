// Code for the device linker: `near.cu` calls it.
__device__ int table[1 << 15] = {1};

__device__ int far(int value) { return table[value]; }
