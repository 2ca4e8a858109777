# CUDA as nixpkgs has it, in many outputs and twice for aarch64, by stand-ins on the embedded base.
let
  import' =
    isJetsonBuild: overlay:
    import ../../nix/debian {
      system = "aarch64-linux";
      overlays = [
        (import ../../overlays)
        (import ../builds/instantiation/stand-ins.nix)
        (final: prev: {
          cudaPackages_12_6 = prev.cudaPackages_12_6 // {
            flags = { inherit isJetsonBuild; };
            backendStdenv = final.stdenv // {
              mkDerivation =
                arguments:
                final.stdenv.mkDerivation (
                  self:
                  (if builtins.isFunction arguments then arguments self else arguments) // { compiler = "CUDA's"; }
                );
            };
          };
        })
        overlay
      ];
    };
  scope = isJetsonBuild: overlay: (import' isJetsonBuild overlay).vllmPackages.jetson;
  jetson = scope true (_: _: { });
  # nixpkgs' sets of packages by capability.
  byArchitecture = _: _: {
    _cuda.lib.mkRealArchitecture =
      capability: "sm_${builtins.replaceStrings [ "." ] [ "" ] capability}";
    pkgsForCudaArch.sm_87 = import' true (_: _: { });
  };
  cuda = jetson.cudaPackages;
in
{
  "the servers' CUDA is not Jetson's" = {
    expr = (builtins.tryEval (scope false (_: _: { })).cudaPackages).success;
    expected = false;
  };
  "Jetson's is nixpkgs' own for its capability, whatever the user's configuration" = {
    expr = (scope false byArchitecture).cudaPackages.flags.isJetsonBuild;
    expected = true;
  };
  "a release that nixpkgs has removed is absent" = {
    expr =
      let
        removed = _: _: {
          cudaPackages_12_6 = throw "CUDA 12.6 has been removed";
          cudaPackages_12_5 = jetson.cudaPackages // {
            cudaMajorMinorVersion = "12.5";
          };
        };
      in
      (scope true removed).cudaPackages.cudaMajorMinorVersion;
    expected = "12.5";
  };
  "all of it is compiled by what nvcc works with, and by what is older than g++ 15" = {
    expr = map (name: jetson.${name}.compiler) [
      "nccl"
      "nccl-tests"
      "torch"
      "triton"
      "triton-llvm"
      "vllm"
    ];
    expected = builtins.genList (_: "CUDA's") 6;
  };
  "headers and the static runtime are in the toolkit" = {
    expr = builtins.filter (output: !builtins.elem output jetson.cudaToolkit.paths) (
      map (library: library.include) jetson.cudaToolkit.libraries ++ [ cuda.cuda_cudart.static ]
    );
    expected = [ ];
  };
  "torch gets cuDNN's headers" = {
    expr = jetson.torch.CUDNN_INCLUDE_DIR;
    expected = "${cuda.cudnn.include}/include";
  };
  "NCCL gets the runtime's headers" = {
    expr = builtins.elem "CUDA_INC=${cuda.cuda_cudart.include}/include" jetson.nccl.makeFlags;
    expected = true;
  };
  "a header package of CUDA 13 is not asked for before" = {
    expr = builtins.isString jetson.nccl-tests.drvPath;
    expected = true;
  };
}
