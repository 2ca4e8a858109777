# `kernels.modules` and the attribute `kernels`, on the embedded base.
let
  pkgs = import ../../nix/debian {
    system = "x86_64-linux";
    overlays = [ (import ../../overlays) ];
  };
  inherit (pkgs) lib vllmPackages;
  with' =
    target: modules: changes:
    vllmPackages.${target}.overrideTarget (
      old: lib.recursiveUpdate (old // { kernels = { inherit modules; }; }) changes
    );
  cuda = with' "cuda";
  fails = value: !(builtins.tryEval value).success;
  wheels = environment: map (wheel: "${wheel.pname} ${wheel.drvPath}") environment.components;
  compiled = scope: lib.mapAttrs (_: module: module.drvPath) scope.flashinfer-jit-cache.compiled;
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
      (cuda [ "attention-bf16-128" ] { cuda.capabilities = [ "9.0" ]; }).vllm-cuda.drvPath
      (cuda [ "samplng" ] { }).vllm-cuda.drvPath
      (cuda [ "attention-bf16-128" ] { cuda.capabilities = [ "8.9" ]; }).vllm-cuda.drvPath
    ];
    expected = [
      true
      true
      true
      true
      false
    ];
  };
}
