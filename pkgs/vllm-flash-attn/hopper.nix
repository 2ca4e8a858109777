# CMakeLists.txt from vLLM 0.7 on: flash-attention 3 is for Hopper; elsewhere it is more than a hundred
# files for nothing.
[
  {
    file = "CMakeLists.txt";
    old = "if (FA3_ENABLED AND";
    new = ''
      cuda_archs_loose_intersection(FA3_ARCHS "9.0a" "''${CUDA_ARCHS}")
      if (FA3_ENABLED AND FA3_ARCHS AND'';
  }
]
