# What torch's CMake package does to an extension's build: CUDA as a language, one -gencode for each
# element of TORCH_CUDA_ARCH_LIST in its flags, and no architecture of CMake's own choice.
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
set(CMAKE_CUDA_ARCHITECTURES OFF)
foreach(capability $ENV{TORCH_CUDA_ARCH_LIST})
  string(REPLACE "." "" number "${capability}")
  string(APPEND CMAKE_CUDA_FLAGS " -gencode arch=compute_${number},code=sm_${number}")
endforeach()

# Nothing is compiled: the release may be given the compilers that it expects.
if(TOOLKIT)
  set(CMAKE_CUDA_COMPILER_VERSION ${TOOLKIT})
endif()
if(HOST_COMPILER)
  set(CMAKE_CXX_COMPILER_VERSION ${HOST_COMPILER})
endif()
set(CUDA_VERSION ${CMAKE_CUDA_COMPILER_VERSION})
set(CUDA_FOUND TRUE)

foreach(target torch CUDA::cuda_driver)
  if(NOT TARGET ${target})
    add_library(${target} INTERFACE IMPORTED)
  endif()
endforeach()
