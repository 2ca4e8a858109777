# Type: { pname, version, tag, src, build-system, ... } -> Path
# A wheel built from source (PEP 517) without a network. The output is the file alone; its name is
# known beforehand, and asserted. All other arguments are mkDerivation's.
{
  lib,
  python,
  stdenv,
  unpackBuilt,
}:
{
  pname,
  version,
  tag ? "py3-none-any",
  build-system,
  nativeBuildInputs ? [ ],
  passthru ? { },
  ...
}@arguments:
let
  file = "${lib.replaceStrings [ "-" ] [ "_" ] pname}-${version}-${tag}.whl";

  make =
    { build, passthru }:
    stdenv.mkDerivation (
      final:
      {
        # CMake's hook would configure: the build backend calls CMake itself.
        configurePhase = ''
          runHook preConfigure
          runHook postConfigure
        '';
        # The pins that a release's pyproject.toml asks for are the target's to choose.
        buildPhase = ''
          runHook preBuild
          ${build}
          runHook postBuild
        '';
        installPhase = ''
          runHook preInstall
          if [[ ! -e dist/${file} ]]; then
            echo "built $(ls dist), not ${file}"
            exit 1
          fi
          cp dist/${file} $out
          runHook postInstall
        '';
        dontFixup = true; # nix/wheels/unpack does, when the wheel is unpacked
      }
      // removeAttrs arguments [
        "pname"
        "tag"
        "build-system"
        "passthru"
      ]
      // {
        name = file;
        nativeBuildInputs = [
          python
          python.pkgs.build
        ]
        ++ build-system
        ++ nativeBuildInputs;
        PYTHONHASHSEED = "0";
        passthru = {
          inherit version file;
          name = pname;
          # Each of its libraries finds what it needs, or this fails.
          tests.unpack = unpackBuilt final.finalPackage;
        }
        // passthru;
      }
    );
in
make {
  build = "${python.interpreter} -m build --wheel --no-isolation --skip-dependency-check --outdir dist .";
  passthru = {
    # What the wheel requires, reported by the build backend without compiling: all that a lock depends on.
    metadata = make {
      build = "${python.interpreter} ${./metadata-wheel.py} dist/${file}";
      passthru = { };
    };
  }
  // passthru;
}
