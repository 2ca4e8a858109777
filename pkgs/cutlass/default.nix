# CUTLASS's headers and cutlass_library, laid out as its repository: what vLLM's CMakeLists.txt takes as
# VLLM_CUTLASS_SRC_DIR. They come out of NVIDIA's wheel, which both bases have; for releases without one, it is the
# repository itself.
{
  fetchFromGitHub,
  lib,
  registrySource,
  stdenvNoCC,
  target,
  unzip,

  version ? target.cutlass.version,
}:
let
  sources = builtins.fromTOML (builtins.readFile ./sources.toml);
  meta = {
    description = "CUDA templates for linear algebra: headers, and the generator of kernels";
    homepage = "https://github.com/NVIDIA/cutlass";
    license = lib.licenses.bsd3;
  };
in
if sources.github ? ${version} then
  fetchFromGitHub {
    owner = "NVIDIA";
    repo = "cutlass";
    rev = "v${version}";
    hash = sources.github.${version};
    inherit meta;
  }
else
  stdenvNoCC.mkDerivation {
    pname = "cutlass";
    inherit version;
    src = registrySource {
      pname = "nvidia-cutlass";
      version = "${version}.0";
      sources = ./sources.toml;
    };
    nativeBuildInputs = [ unzip ];
    unpackPhase = "unzip -q $src 'cutlass_library/*'";
    dontConfigure = true;
    dontBuild = true;
    installPhase = ''
      runHook preInstall
      mkdir -p $out/tools/util $out/python
      cp -r cutlass_library/source/include $out/
      cp -r cutlass_library/source/tools/util/include $out/tools/util/
      rm -r cutlass_library/source
      cp -r cutlass_library $out/python/
      cp ${./CMakeLists.txt} $out/CMakeLists.txt
      runHook postInstall
    '';
    dontFixup = true;
    inherit meta;
  }
