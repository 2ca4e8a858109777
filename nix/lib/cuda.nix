# CUDA's compute capabilities: what targets/capabilities.toml says of them, and each spelling of them that
# a compiler takes. vllm_nix.gpu.capability says the same in Python.
capabilities:
let
  inherit (builtins) compareVersions concatStringsSep replaceStrings;
  row =
    capability:
    capabilities.${capability}
      or (throw "no compute capability '${capability}' is known; there are: ${concatStringsSep ", " (builtins.attrNames capabilities)}");
  number = capability: builtins.seq (row capability) (replaceStrings [ "." ] [ "" ] capability);
in
rec {
  # Type: canCompile :: String -> String -> Bool
  # Whether the nvcc of a CUDA release, such as "12.6", compiles for a capability.
  canCompile =
    toolkit: capability:
    let
      inherit (row capability) first;
      last = (row capability).last or toolkit;
    in
    compareVersions toolkit first >= 0 && compareVersions toolkit last <= 0;

  # Type: isJetson, isPci :: String -> Bool
  # Whether it is a Jetson's, for aarch64 alone; and whether its GPU is a PCI device, as all but the older Jetsons' are.
  isJetson = capability: (row capability).jetson or false;
  isPci = capability: (row capability).pci or true;

  # Type: [ String ] -> String
  # PyTorch's variable TORCH_CUDA_ARCH_LIST: "8.6;8.7".
  archList =
    wanted: concatStringsSep ";" (map (capability: builtins.seq (row capability) capability) wanted);

  # Type: [ String ] -> String
  # The same for projects that want them without the dot, such as flash-attention: "86;87".
  archNumbers = wanted: concatStringsSep ";" (map number wanted);

  # Type: String -> String
  # What nvcc calls native code: "sm_87".
  sm = capability: "sm_${number capability}";

  # Type: [ String ] -> String
  # nvcc's flags for native code alone, no PTX either.
  gencode =
    wanted:
    concatStringsSep " " (
      map (capability: "-gencode=arch=compute_${number capability},code=${sm capability}") wanted
    );
}
