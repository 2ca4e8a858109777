# `wheels.slim` and the attribute `slim`, on the embedded base.
let
  inherit (import ./embedded) lib vllmPackages;
  whole = vllmPackages.cuda;
  with' =
    target: slim:
    vllmPackages.${target}.overrideTarget (
      old:
      old
      // {
        wheels = old.wheels or { } // {
          inherit slim;
        };
      }
    );
  environment = target: slim: (with' target slim)."vllm-${target}";
  fails = value: !(builtins.tryEval value).success;
  # The wheels of an environment that differ from the target's own.
  changed =
    environment:
    let
      own = lib.listToAttrs (
        map (wheel: lib.nameValuePair wheel.pname wheel.drvPath) whole.vllm-cuda.components
      );
    in
    sorted (
      map (wheel: wheel.pname) (
        lib.filter (wheel: wheel.drvPath != own.${wheel.pname}) environment.components
      )
    );
  free = [
    "nvidia-nccl-cu13"
    "torch"
    "torchvision"
    "vllm"
  ];
  # Unpacked without what other devices run (diet.toml), as vLLM's is.
  dieted = [
    "flashinfer-python"
    "nvidia-cudnn-frontend"
    "nvidia-cutlass-dsl"
    "nvidia-cutlass-dsl-libs-base"
    "nvidia-cutlass-dsl-libs-core"
    "nvidia-cutlass-dsl-libs-cu13"
    "triton"
  ];
  sorted = lib.sort (a: b: a < b);
  closed = [
    "nvidia-cublas"
    "nvidia-cudnn-cu13"
    "nvidia-curand"
    "nvidia-cusolver"
    "nvidia-cusparse"
    "nvidia-cusparselt-cu13"
    "nvidia-nvshmem-cu13"
  ];
in
{
  "it is off by default" = {
    expr = lib.filterAttrs (_: target: target ? wheels.slim) (import ../../nix/lib).targets;
    expected = { };
  };
  "the free wheels alone are slimmed" = {
    expr = changed whole.vllm-cuda.slim;
    expected = sorted (free ++ dieted);
  };
  "the attribute is the switch" = {
    expr = whole.vllm-cuda.slim.drvPath;
    expected = (environment "cuda" { for = "cuda.capabilities"; }).drvPath;
  };
  "what else changes in the library leaves slim wheels as they are" = {
    expr = lib.filter (lib.hasPrefix "vllm-nix") (
      map (input: input.name)
        (lib.findFirst (wheel: wheel.pname == "torch") null whole.vllm-cuda.slim.components)
        .nativeBuildInputs
    );
    expected = [ "vllm-nix-slim" ];
  };
  "closed wheels are slimmed by a switch of their own" = {
    expr = changed whole.vllm-cuda.slim.unfree;
    expected = sorted (free ++ closed ++ dieted);
  };
  "what has closed ones must not be passed on" = {
    expr =
      let
        mayBePassedOn =
          one: lib.all (license: license.redistributable or true) (lib.toList one.meta.license);
        cublas =
          environment: lib.findFirst (wheel: wheel.pname == "nvidia-cublas") null environment.components;
        inherit (whole.vllm-cuda) slim;
        of = one: [
          (mayBePassedOn one)
          one.meta.hydraPlatforms
        ];
      in
      map of [
        slim.unfree
        (cublas slim.unfree)
        (cublas slim)
      ];
    expected = [
      [
        false
        [ ]
      ]
      [
        false
        [ ]
      ]
      [
        true
        [ ]
      ]
    ];
  };
  "the wheels that are named alone" = {
    expr = changed (
      environment "cuda" {
        for = "cuda.capabilities";
        distributions = [ "vllm" ];
      }
    );
    expected = sorted (dieted ++ [ "vllm" ]);
  };
  "it is refused where it means nothing" = {
    expr = map fails [
      (environment "cpu" { for = "cuda.capabilities"; }).drvPath
      (environment "cuda" {
        for = "cuda.capabilities";
        distributions = [ "tensorrt" ];
      }).drvPath
      (environment "cuda" {
        for = "cuda.capabilities";
        distributions = [ "nvidia-cublas" ];
      }).drvPath
      (environment "cuda" { for = "8.6"; }).drvPath
      (environment "cuda" {
        for = "cuda.capabilities";
        unfree = true;
        distributions = [ "nvidia-cublas" ];
      }).drvPath
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
