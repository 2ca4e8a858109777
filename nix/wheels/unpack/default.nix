# Type: { name, version, file, src, ... } -> Derivation
# One wheel as a store path of its own: unpacked, its ELF files resolved, byte-compiled.
{
  lib,
  numactl,
  patchelf,
  python,
  runCommand,
  stdenv,
  zlib,
}:
let
  licenses = import ../licenses.nix;
  # Without what Python and its tools leave beside a program: it would change every wheel.
  builder = builtins.path {
    path = ./builder;
    filter = path: _: lib.hasSuffix ".py" path;
  };
  packages = map (package: "${package}/${python.sitePackages}") [
    python.pkgs.installer
    python.pkgs.packaging
    python.pkgs.pyelftools
  ];

  # What a wheel may expect of any Linux (PEP 600's libraries), and what vLLM's wheels do.
  common = [
    stdenv.cc.libc
    stdenv.cc.cc
    zlib
    numactl
  ];
in
{
  name,
  version,
  file,
  src,
  libraries ? [ ], # of the base, that a wheel built here was linked with
  fromSource ? false,
  without ? [ ], # rows of ../diet.toml
  ...
}@wheel:
let
  own = licenses.ofDistribution name;
  symbols = lib.concatMap (row: row.symbols or [ ]) without;
  isBinary = !lib.hasSuffix "-any.whl" file && (!fromSource || own != [ ]);
in
runCommand "${python.libPrefix}-${name}-${lib.replaceStrings [ "!" ] [ "-" ] version}"
  {
    PYTHONPATH = lib.concatStringsSep ":" packages;
    PYTHONHASHSEED = "0";
    nativeBuildInputs = [ python ];
    passthru = {
      inherit version file src;
      without = map (row: row.reason) without;
      pname = name;
      # Of a registry's wheel; what is built here is known by its path.
      sha256 = wheel.sha256 or null;
      size = wheel.size or null;
    };
    meta =
      licenses.meta (own ++ licenses.ofPackages libraries)
      // lib.optionalAttrs isBinary { sourceProvenance = [ lib.sourceTypes.binaryNativeCode ]; };
  }
  (
    ''
      ${python.interpreter} ${builder}/install.py ${src} $out --file ${lib.escapeShellArg file} \
        --patchelf ${patchelf}/bin/patchelf \
        --interpreter ${stdenv.cc.bintools.dynamicLinker} --library-path ${
          lib.makeLibraryPath (common ++ libraries)
        }
    ''
    + lib.optionalString (without != [ ]) ''
      ${python.interpreter} ${./leave_out.py} $out ${
        lib.escapeShellArgs (lib.concatMap (row: row.paths or [ ]) without)
      }
    ''
    + lib.optionalString (symbols != [ ]) ''
      PYTHONPATH=${builder}:$PYTHONPATH ${python.interpreter} ${./strip.py} $out ${lib.escapeShellArgs symbols}
    ''
  )
