# Type: { source, toolkit, hostCompiler ? "", capabilities ? "8.7", flashAttention ? null } -> Path
# What Ninja would run for each file of vLLM's extensions, as JSON: `ninja -t compdb` on what the
# release's own CMakeLists.txt makes of it, with the real nvcc. CMake is given the versions of the
# compilers that the release expects, and finds other projects' sources as empty folders.
{
  cudaPackages,
  lib,
  ninja,
  python311,
  runCommandCC,
}:
{
  source,
  toolkit,
  hostCompiler ? "",
  capabilities ? "8.7",
  flashAttention ? null,
}:
let
  empty = "/build/empty";
  folders = [
    "DEEPGEMM"
    "DEEPSELECT"
    "FLASH_KDA"
    "FLASH_MLA"
    "FMHA_SM100"
    "QUTLASS"
    "TML_FA4"
    "TRITON_KERNELS"
    "VLLM_CUTLASS"
  ];
in
runCommandCC "configured"
  (
    {
      nativeBuildInputs = [
        cudaPackages.cudatoolkit
        ninja
        python311
        python311.pkgs.cmake # Debian's is older than 3.26, vLLM's oldest
        python311.pkgs.jinja2
        python311.pkgs.setuptools
      ];
      CUDA_HOME = cudaPackages.cudatoolkit;
      TORCH_CUDA_ARCH_LIST = capabilities;
      VLLM_FLASH_ATTN_SRC_DIR = if flashAttention == null then empty else flashAttention;
    }
    // lib.genAttrs (map (each: "${each}_SRC_DIR") folders) (_: empty)
  )
  ''
    mkdir -p ${empty}/flash_mla
    touch ${empty}/CMakeLists.txt ${empty}/flash_mla/flash_mla_interface.py
    mkdir source
    cp -r ${source}/{CMakeLists.txt,cmake,csrc} source/
    chmod -R u+w source
    # Releases up to 0.6.4 take CUTLASS's place from CMake's own variable alone.
    PYTHONPATH=${./.}:$PYTHONPATH cmake -S source -B build -G Ninja \
      -DVLLM_PYTHON_EXECUTABLE=${python311.interpreter} \
      -DTOOLKIT=${toolkit} -DHOST_COMPILER=${hostCompiler} \
      -DFETCHCONTENT_FULLY_DISCONNECTED=ON -DFETCHCONTENT_SOURCE_DIR_CUTLASS=${empty}
    ninja -C build -t compdb > $out
  ''
