# What keeps a build for CUDA from downloading CUTLASS: the releases before 0.6.5 read no variable for it.
[
  {
    from = "0.5.0";
    file = "CMakeLists.txt";
    old = "include(FetchContent)";
    new = ''
      set(FETCHCONTENT_FULLY_DISCONNECTED ON)
      set(FETCHCONTENT_SOURCE_DIR_CUTLASS "$ENV{VLLM_CUTLASS_SRC_DIR}" CACHE PATH "")
      include(FetchContent)'';
  }
]
