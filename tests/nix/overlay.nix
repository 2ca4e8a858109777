# The overlay on the embedded base.
let
  import' = overlays: import ../../nix/debian { inherit overlays; };
  without = import' [ ];
  with' = import' [ (import ../../overlays) ];
  jetson = (import ../../nix/lib).targets.jetson.cuda;
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
  "a target's overlay has its components on top" = {
    expr = (import' [ (import ../../overlays/target.nix "jetson") ]).vllmPackages.target.name;
    expected = "jetson";
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
  "a target's CUDA is none that is newer" = {
    expr =
      (builtins.tryEval (with'.vllmPackages.cudaPackagesFor (jetson // { toolkit = "13.1"; }))).success;
    expected = false;
  };
}
