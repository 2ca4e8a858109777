# The NCCL that a torch from the registry loads, from the target's locked wheels: what is linked with it
# measures the one that vLLM uses.
{
  lib,
  lockedWheels,
  python,
  runCommand,
  target,
}:
let
  wheel =
    lib.findFirst (each: lib.hasPrefix "nvidia-nccl-cu" each.pname)
      (throw "the wheels of ${target.name} hold no NCCL; its torch is ${target.torch.version}")
      lockedWheels;
in
runCommand "nccl-${wheel.version}" { inherit (wheel) version; } ''
  cd ${wheel}/${python.sitePackages}/nvidia/nccl
  mkdir -p $out/lib
  ln -s $PWD/include $out
  ln -s $PWD/lib/libnccl.so.2 $out/lib
  ln -s libnccl.so.2 $out/lib/libnccl.so
''
