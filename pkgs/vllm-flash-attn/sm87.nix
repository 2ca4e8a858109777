# What makes flash-attention 2 native for Orin, where its build knows sm_80 (and sm_90) alone.
{
  # setup.py (to vllm-flash-attn 2.6.2): flags of its own keep torch from giving those for
  # TORCH_CUDA_ARCH_LIST, so that they go.
  setup = [
    {
      file = "setup.py";
      old = ''
        cc_flag.append("-gencode")
            cc_flag.append("arch=compute_80,code=sm_80")'';
      new = ''
        if not os.environ.get("TORCH_CUDA_ARCH_LIST"):
                raise SystemExit("flash-attention: set TORCH_CUDA_ARCH_LIST, such as 8.7")'';
    }
    {
      file = "setup.py";
      old = ''
        cc_flag.append("-gencode")
                    cc_flag.append("arch=compute_90,code=sm_90")'';
      new = "pass";
    }
  ];
  # CMakeLists.txt (the commits from vLLM 0.7 on): the lists, in any order, choose the highest of the same
  # major version that is not above the wanted one, so that 8.9 stands beside 8.7.
  cmake = [
    {
      file = "CMakeLists.txt";
      old = "8.0;8.6;8.9;9.0";
      new = "8.0;8.6;8.7;8.9;9.0";
    }
    {
      file = "CMakeLists.txt";
      old = "FA2_ARCHS \"8.0";
      new = "FA2_ARCHS \"8.7;8.9;8.0";
    }
  ];
}
