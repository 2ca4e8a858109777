# Which environments have an image, and under what name, on the embedded base.
let
  inherit (import ./embedded) lib vllmPackages;
  inherit (vllmPackages) vllm-cuda;
  name = image: "${image.imageName}:${image.imageTag}";
  isThere = environment: (builtins.tryEval environment.image.drvPath).success;
in
{
  "a name, and vLLM's release" = {
    expr = map (environment: name environment.image) [
      vllmPackages.vllm-cpu
      vllm-cuda
      vllm-cuda.slim
    ];
    expected = [
      "vllm-cpu:0.32.0"
      "vllm-cuda:0.33.0"
      "vllm-cuda:0.33.0-slim"
    ];
  };
  "none of changed closed libraries, nor of a vLLM that cannot serve" = {
    expr = lib.attrNames (
      lib.filterAttrs (_: environment: !isThere environment) {
        inherit (vllmPackages)
          vllm-ascend
          vllm-cpu
          vllm-cuda
          vllm-cuda_12
          vllm-neuron
          vllm-verl
          ;
        inherit (vllm-cuda) slim;
        inherit (vllm-cuda.slim) unfree;
      }
    );
    expected = [
      "unfree"
      "vllm-neuron"
    ];
  };
}
