# Type: AttrSet | (AttrSet -> AttrSet) -> Derivation
# A Python package from its source (PEP 517, no network) or from a wheel (`format = "wheel"`). The
# wheel itself is the output `dist`.
{
  lib,
  stdenv,
  autoPatchelfHook,
  python,
  installer,
}:
let
  build =
    attributes:
    let
      format = attributes.format or (if attributes.pyproject or false then "pyproject" else null);
      isWheel = format == "wheel";
      dependencies = attributes.dependencies or [ ] ++ attributes.propagatedBuildInputs or [ ];
      checkInputs = attributes.nativeCheckInputs or [ ];
      isApplication = attributes.isApplication or false;
    in
    assert lib.assertMsg (builtins.elem format [
      "wheel"
      "pyproject"
      "other"
    ]) "${attributes.pname or attributes.name}: set pyproject = true, or format to wheel or other";
    removeAttrs attributes [
      "build-system"
      "dependencies"
      "optional-dependencies"
      "nativeCheckInputs"
      "pyproject"
      "format"
      "isApplication"
    ]
    // {
      name =
        attributes.name or "${
          lib.optionalString (!isApplication) "${python.libPrefix}-"
        }${attributes.pname}-${attributes.version}";
      outputs = attributes.outputs or ([ "out" ] ++ lib.optional (format != "other") "dist");
      nativeBuildInputs =
        attributes.nativeBuildInputs or [ ]
        ++ [ python ]
        ++ lib.optional isWheel autoPatchelfHook
        ++ lib.optional (format == "pyproject") python.pkgs.build
        ++ attributes.build-system or [ ]
        ++ checkInputs;
      buildInputs = attributes.buildInputs or [ ] ++ lib.optional isWheel (lib.getLib stdenv.cc.cc);
      propagatedBuildInputs = dependencies;
      pythonFormat = format;
      pythonInstaller = installer;
      doInstallCheck = attributes.doCheck or true;
      doCheck = false;
      installCheckPhase =
        attributes.installCheckPhase or attributes.checkPhase or "pythonInstallCheckPhase";
      checkPhase = null;
      dontStrip = attributes.dontStrip or isWheel;
      dontPatchELF = attributes.dontPatchELF or isWheel;
      pythonImportsCheck = attributes.pythonImportsCheck or [ ];
      PYTHONHASHSEED = "0";
      # nixpkgs' marker for what belongs into PYTHONPATH
      passthru = {
        pythonModule = python;
        requiredPythonModules = closure dependencies;
      }
      // attributes.passthru or { };
    }
    // lib.optionalAttrs isWheel { dontUnpack = true; }
    // lib.optionalAttrs isApplication {
      pythonApplicationPath = map (each: "${each}/${python.sitePackages}") (closure dependencies);
    };

  closure =
    packages: lib.unique (lib.concatMap (each: [ each ] ++ each.requiredPythonModules or [ ]) packages);
in
arguments:
stdenv.mkDerivation (
  if lib.isFunction arguments then final: build (arguments final) else build arguments
)
