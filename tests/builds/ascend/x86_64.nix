# The environment `ascend` for x86_64, with the one wheel changed that PyTorch's own index alone has:
# torch 2.5.1 is the registry's, with NVIDIA's libraries, out of verl_0_7_3's lock; it does without its Triton,
# as the target has to. CANN's driver may lie in the user's home, as the rest of CANN may.
let
  pkgs = import ../../../nix/debian {
    system = "x86_64-linux";
    overlays = [ (import ../../../overlays) ];
  };
  inherit (pkgs) lib vllmPackages;
  isTorchs = wheel: wheel.pname == "torch" || lib.hasPrefix "nvidia-" wheel.pname;
in
(vllmPackages.ascend.overrideScope (
  _self: super: {
    target = lib.recursiveUpdate super.target {
      cann.driver = [ "~/Ascend/driver/lib64" ];
      wheels.optional-libraries."libcuda.so.1" = "torch asks for it when it computes with CUDA";
    };
    lockedWheels =
      builtins.filter (wheel: wheel.pname != "torch") super.lockedWheels
      ++ builtins.filter isTorchs vllmPackages.verl_0_7_3.lockedWheels;
  }
)).vllm-ascend
