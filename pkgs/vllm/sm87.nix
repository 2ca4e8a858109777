# What makes `TORCH_CUDA_ARCH_LIST=8.7` (Jetson Orin) mean sm_87 for every CUDA file, by the releases
# that need it. The lists choose for each wanted capability the highest of the same major version that
# is not above it, so that 8.7 alone would catch 8.9 as well: 8.9 stands beside it wherever it was not.
[
  # "None of the CUDA architectures in TORCH_CUDA_ARCH_LIST is supported"
  {
    from = "0.2.4";
    before = "0.4.0";
    file = "setup.py";
    old = "NVIDIA_SUPPORTED_ARCHS = {";
    new = "NVIDIA_SUPPORTED_ARCHS = {\"8.7\", ";
  }
  # Dropped without a -gencode up to 0.6.2, then sm_86; mended upstream by vllm#9735.
  {
    from = "0.4.1";
    before = "0.6.5";
    file = "CMakeLists.txt";
    old = "8.6;8.9;9.0";
    new = "8.6;8.7;8.9;9.0";
  }
  # flash-attention 3 is for Hopper. With ../vllm-flash-attn/sm87.nix its target is defined for nobody
  # else, and Ninja would stop at one that is asked for and unknown.
  {
    from = "0.7.0";
    before = "0.8.0";
    file = "setup.py";
    old = "get_nvcc_cuda_version() >= Version(\"12.0\")";
    new = "get_nvcc_cuda_version() >= Version(\"12.0\") and \"9.0\" in os.environ.get(\"TORCH_CUDA_ARCH_LIST\", \"9.0\")";
  }
  # The same, and FlashMLA, for Hopper and Blackwell, which this release asks for with it.
  {
    from = "0.8.2";
    before = "0.8.5";
    file = "setup.py";
    old = "get_nvcc_cuda_version() >= Version(\"12.3\")";
    new = "get_nvcc_cuda_version() >= Version(\"12.3\") and \"9.0\" in os.environ.get(\"TORCH_CUDA_ARCH_LIST\", \"9.0\")";
  }
  {
    from = "0.33.0";
    before = "0.34.0";
    file = "setup.py";
    old = ''
      >= Version("12.3")
          ):
              # FA3'';
    new = ''
      >= Version("12.3") and "9.0" in os.environ.get("TORCH_CUDA_ARCH_LIST", "9.0")
          ):
              # FA3'';
  }
  # Marlin and Hadamard kernels: sm_80, and PTX that the driver compiles at the first start.
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
