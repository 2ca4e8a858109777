# The platform plugin for Ascend, from its source archive, as its own default is: without the custom
# kernels, which serve sleep mode alone and need CANN at build time.
{
  buildWheel,
  lib,
  python,
  registrySource,
  target,
}:
let
  inherit (target.vllm-ascend) version;
in
buildWheel {
  pname = "vllm-ascend";
  inherit version;
  src = registrySource {
    inherit version;
    pname = "vllm-ascend";
    sources = ./sources.toml;
  };
  build-system = [
    python.pkgs.setuptools
    python.pkgs.setuptools-scm
    python.pkgs.wheel
  ];
  SETUPTOOLS_SCM_PRETEND_VERSION = version;
  # setup.py of 0.7.3 asks whether this is set, not what it says: "0" turns the kernels on.
  preBuild = "unset COMPILE_CUSTOM_KERNELS";
  meta = {
    description = "vLLM's platform plugin for Huawei's Ascend";
    homepage = "https://github.com/vllm-project/vllm-ascend";
    license = lib.licenses.asl20;
  };
}
