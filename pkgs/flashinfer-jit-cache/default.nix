# The modules of `kernels.modules` as the wheel that FlashInfer looks into before it compiles: docs/kernels.md.
{
  callPackage,
  lib,
  lockedWheels,
  python,
  runCommand,
  stdenv,
  target,
}:
let
  inherit (target.kernels) modules;
  refuse = text: throw "vllm-${target.name}: kernels.modules: ${text}";
  wheel =
    name:
    lib.findFirst (wheel: wheel.pname == name) (refuse "its lock has no wheel ${name}") lockedWheels;
  flashinfer = builtins.seq (wheel "nvidia-cuda-nvcc") (wheel "flashinfer-python");

  # From 9.0 on vLLM's FlashInfer takes FA3, XQA or kernels that NVIDIA has compiled.
  attention = lib.filter (lib.hasPrefix "attention-") modules;
  newer = lib.filter (capability: lib.versionAtLeast capability "9.0") target.cuda.capabilities;

  version = "${flashinfer.version}+${
    lib.concatMapStringsSep "." (
      capability: "sm${lib.replaceStrings [ "." ] [ "" ] capability}"
    ) target.cuda.capabilities
  }";
  file = "flashinfer_jit_cache-${version}-py3-none-linux_${stdenv.hostPlatform.parsed.cpu.name}.whl";
  compiled = lib.genAttrs modules (callPackage ./module.nix { });
in
if !(target ? cuda) then
  refuse "they are for cuda.capabilities, and it has none"
else if attention != [ ] && newer != [ ] then
  refuse "${lib.head attention}: for ${lib.head newer} vLLM asks FlashInfer for other kernels of attention; leave it out"
else
  runCommand file
    {
      nativeBuildInputs = [ python ];
      passthru = {
        inherit compiled file version;
        name = "flashinfer-jit-cache";
      };
      meta = {
        description = "FlashInfer's kernels, compiled for one target's devices";
        homepage = "https://docs.flashinfer.ai";
        license = lib.licenses.asl20;
      };
    }
    ''
      ${python.interpreter} ${./wheel.py} ${version} ${file} ${toString (lib.attrValues compiled)}
      mv ${file} $out
    ''
