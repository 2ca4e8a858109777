# The exports of a build by hand.
let
  environment = import ../../nix/lib/environment.nix (import ../../nix/lib).cuda;
  wheels = {
    torch = {
      version = "2.13.0+cpu";
      from = "wheel";
    };
    vllm = {
      from = "wheel";
      device = "cpu";
    };
  };
  source = {
    torch = {
      version = "2.5.1";
      from = "source";
      env.USE_NCCL = "1";
    };
    vllm = {
      from = "source";
      device = "cuda";
    };
    cuda.capabilities = [
      "8.7"
      "11.0"
    ];
  };
in
{
  "wheels need no build" = {
    expr = environment wheels;
    expected = { };
  };
  "a build from source" = {
    expr = environment source;
    expected = {
      PYTORCH_BUILD_NUMBER = "1";
      PYTORCH_BUILD_VERSION = "2.5.1";
      TORCH_CUDA_ARCH_LIST = "8.7;11.0";
      USE_NCCL = "1";
      VLLM_TARGET_DEVICE = "cuda";
    };
  };
}
