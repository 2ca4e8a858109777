# The variables that a build from source by hand exports; `vllm-nix params --format env` prints them.
cuda: data:
(data.torch.env or { })
// (if data ? cuda then { TORCH_CUDA_ARCH_LIST = cuda.archList data.cuda.capabilities; } else { })
// (
  if data.torch.from == "source" then
    {
      PYTORCH_BUILD_VERSION = data.torch.version;
      # PyTorch refuses a version without a number; numbers above 1 become `.postN`.
      PYTORCH_BUILD_NUMBER = toString (data.torch.build-number or 1);
    }
  else
    { }
)
// (if data.vllm.from == "source" then { VLLM_TARGET_DEVICE = data.vllm.device; } else { })
