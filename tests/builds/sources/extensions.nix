# Type: { source, capabilities ? "8.7" } -> Path
# The extensions that a source's own setup.py asks for, with what it gives nvcc, as JSON.
{
  cudaPackages,
  git,
  python311,
  runCommandCC,
}:
{
  source,
  capabilities ? "8.7",
}:
runCommandCC "extensions"
  {
    nativeBuildInputs = [
      cudaPackages.cudatoolkit
      git
      python311
      python311.pkgs.packaging
      python311.pkgs.setuptools
      python311.pkgs.setuptools-rust
      python311.pkgs.setuptools-scm
      python311.pkgs.wheel
    ];
    CUDA_HOME = cudaPackages.cudatoolkit;
    TORCH_CUDA_ARCH_LIST = capabilities;
    SETUPTOOLS_SCM_PRETEND_VERSION = "0"; # there is no git history
  }
  ''
    cp -r ${source} source
    chmod -R u+w source
    cd source
    PYTHONPATH=${./.}:$PYTHONPATH python3.11 ${./extensions.py} $out
  ''
