# flash-attention 3 is for Hopper. With ../vllm-flash-attn/hopper.nix its target is defined for nobody
# else, and Ninja would stop at one that is asked for and unknown.
[
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
    from = "0.13.0";
    before = "0.14.0";
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
]
