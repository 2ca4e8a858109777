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
    lib.findFirst (
      wheel: wheel.pname == name
    ) (refuse "its lock has no wheel ${name}, which they are made with") lockedWheels;
  flashinfer = builtins.seq (wheel "nvidia-cuda-nvcc") (wheel "flashinfer-python");

  # Of attention, what the target's devices call; of another module, nothing but itself.
  calls = builtins.fromTOML (builtins.readFile ./attention.toml);
  backends =
    module:
    let
      kind =
        if lib.hasPrefix "xqa-" module then
          "xqa"
        else if builtins.match ".*-e[45]m[23]-.*" module != null then
          "attention-fp8"
        else
          "attention";
      called =
        capability:
        let
          answer = calls.${lib.versions.major capability}.${kind} or "FlashInfer has none for it";
        in
        if lib.isString answer then refuse "${module}: for ${capability}: ${answer}" else answer;
    in
    lib.optionals (lib.hasInfix "-" module) (
      lib.unique (lib.concatMap called target.cuda.capabilities)
    );

  version = "${flashinfer.version}+${
    lib.concatMapStringsSep "." (
      capability: "sm${lib.replaceStrings [ "." ] [ "" ] capability}"
    ) target.cuda.capabilities
  }";
  file = "flashinfer_jit_cache-${version}-py3-none-linux_${stdenv.hostPlatform.parsed.cpu.name}.whl";
  compiled = lib.genAttrs modules (module: callPackage ./module.nix { } module (backends module));
in
if !(target ? cuda) then
  refuse "they are for cuda.capabilities, and it has none"
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
