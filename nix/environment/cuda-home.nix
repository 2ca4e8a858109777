# Type: [ Derivation ] -> Derivation
# The CUDA toolkit in an environment's wheels, as the folder that CUDA_HOME names. vLLM's libraries
# compile kernels with it on first use, and would take the host's toolkit, of whatever release:
# https://docs.flashinfer.ai/installation.html. What the wheels lack of a toolkit's shape is added.
{
  lib,
  python,
  runCommandCC,
}:
wheels:
runCommandCC "cuda-home" { } ''
  mkdir $out
  for wheel in ${toString (lib.filter (wheel: lib.hasPrefix "nvidia-" wheel.pname) wheels)}; do
    for toolkit in $wheel/${python.sitePackages}/nvidia/cu[0-9]*; do
      [[ ! -d $toolkit ]] || cp --recursive --symbolic-link --no-preserve=mode $toolkit/. $out
    done
  done
  ln -s lib $out/lib64
  for library in $out/lib/lib*.so.*; do
    [[ -e ''${library%%.so.*}.so ]] || ln -s ''${library##*/} ''${library%%.so.*}.so
  done
  ${import ../cuda/libcuda-stub.nix "$out/include" "$out/lib/stubs"}
''
