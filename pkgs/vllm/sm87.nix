# What makes `TORCH_CUDA_ARCH_LIST=8.7` (Jetson Orin) mean sm_87 for every CUDA file, by the releases
# that need it. The lists choose for each wanted capability the highest of the same major version that
# is not above it, so that 8.7 alone would catch 8.9 as well: 8.9 stands beside it wherever it was not.
# A release in none of these rows is one that nobody has looked at, and cuda.nix refuses it.
[
  # "None of the CUDA architectures in TORCH_CUDA_ARCH_LIST is supported"
  {
    from = "0.2.4";
    before = "0.4.0";
    file = "setup.py";
    old = "NVIDIA_SUPPORTED_ARCHS = {";
    new = "NVIDIA_SUPPORTED_ARCHS = {\"8.7\", ";
  }
  # Dropped without a -gencode up to 0.6.2, then sm_86; fixed upstream by vllm#9735.
  {
    from = "0.4.1";
    before = "0.6.5";
    file = "CMakeLists.txt";
    old = "8.6;8.9;9.0";
    new = "8.6;8.7;8.9;9.0";
  }
  # These name it by themselves.
  {
    from = "0.6.5";
    before = "0.8.4";
  }
  # Marlin and Hadamard kernels: sm_80, and PTX that the driver compiles at the first start.
  {
    from = "0.13.0";
    before = "0.14.0";
    file = "CMakeLists.txt";
    old = "8.0+PTX";
    new = "8.0+PTX;8.7;8.9";
  }
  {
    from = "0.33.0";
    before = "0.34.0";
    file = "CMakeLists.txt";
    old = "8.0+PTX";
    new = "8.0+PTX;8.7;8.9";
  }
  # The gated delta net's decode kernel: sm_86, which Orin cannot run.
  {
    from = "0.33.0";
    before = "0.34.0";
    file = "CMakeLists.txt";
    old = "8.0;8.6;8.9;9.0a";
    new = "8.0;8.6;8.7;8.9;9.0a";
  }
]
