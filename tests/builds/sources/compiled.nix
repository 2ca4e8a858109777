# { vllm, shell, check, kernel, verlKernel }: what a GPU's code is really compiled to, for Orin, on x86_64. Everything is jetson's
# own but torch, which is the registry's of the same release: the one in verl_0_7_3's lock.
let
  pkgs = import ../../../nix/debian { overlays = [ (import ../../../overlays) ]; };
  inherit (pkgs) lib vllmPackages;
  scope = vllmPackages.jetson.overrideScope (
    _: super: {
      target = super.target // {
        torch = super.target.torch // {
          from = "wheel";
        };
      };
      inherit (vllmPackages.verl_0_7_3) lockedWheels;
      # No registry has it, and what is compiled here needs it to configure alone.
      vllm-flash-attn = pkgs.runCommand "no-flash-attention" { } "mkdir $out; touch $out/CMakeLists.txt";
    }
  );
  vllm = extensions: scope.vllm.override { inherit extensions; };
  version = "2.5.9.post1";
in
{
  inherit vllm;

  # `nix develop .#jetson`.
  shell =
    extensions:
    scope.callPackage ../../../nix/outputs/build-shell.nix {
      vllm = vllm extensions;
      tools = [ ];
    };

  # What pkgs/torch/check.py says of that torch.
  check =
    arguments:
    pkgs.runCommand "check" { nativeBuildInputs = [ scope.python ] ++ scope.torchForBuild; } ''
      ${scope.python.interpreter} ${../../../pkgs/torch/check.py} ${lib.escapeShellArgs arguments}
      touch $out
    '';

  # verl's flash-attention by the target's expression, for A100 alone, with one of its 84 kernels.
  verlKernel =
    (
      (vllmPackages.verl.overrideTarget (
        target: lib.recursiveUpdate target { cuda.capabilities = [ "8.0" ]; }
      )).overrideScope
      (
        _: super: {
          buildCudaWheel =
            cudaPackages: arguments:
            super.buildCudaWheel cudaPackages (
              arguments
              // {
                preBuild = ''
                  sed -i '/"csrc.flash_attn.src.flash_/{/flash_fwd_hdim64_fp16_sm80/!d}; /"csrc.flash_attn.flash_api.cpp"/d' setup.py
                '';
              }
            );
        }
      )
    ).flash-attn;

  # One forward kernel of flash-attention by its own setup.py, which would compile sixty.
  kernel = scope.callPackage (
    {
      cudaToolkit,
      git,
      ninja,
      patchedSource,
      python,
      registrySource,
      runCommandCC,
      torchForBuild,
    }:
    runCommandCC "flash-attention-kernel"
      {
        nativeBuildInputs = [
          cudaToolkit
          git
          ninja
          python
          python.pkgs.packaging
          python.pkgs.setuptools
          python.pkgs.wheel
        ]
        ++ torchForBuild;
        src = patchedSource {
          pname = "flash-attn";
          inherit version;
          src = registrySource {
            pname = "flash-attn";
            inherit version;
            sources = ../../../pkgs/flash-attn/sources.toml;
          };
          replacements = (import ../../../pkgs/vllm-flash-attn/sm87.nix).setup;
        };
        CUDA_HOME = cudaToolkit;
        TORCH_CUDA_ARCH_LIST = scope.target.environment.TORCH_CUDA_ARCH_LIST;
        FLASH_ATTENTION_FORCE_BUILD = "TRUE";
        MAX_JOBS = "1";
        NVCC_THREADS = "1";
      }
      ''
        cp -r --no-preserve=mode $src source
        cd source
        sed -i '/"csrc.flash_attn.src.flash_/{/flash_fwd_hdim64_fp16_sm80/!d}; /"csrc.flash_attn.flash_api.cpp"/d' setup.py
        sed -i '/setup_requires=\[/,/\]/d' setup.py # it would install them
        ${python.interpreter} setup.py build_ext --build-lib $out
      ''
  ) { };
}
