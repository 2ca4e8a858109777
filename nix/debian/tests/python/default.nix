# The interpreter: its extension modules, a virtual environment, a C extension built by setuptools.
{ python311, stdenv }:
stdenv.mkDerivation {
  name = "test-python";
  src = ./.;
  nativeBuildInputs = [
    python311
    python311.pkgs.setuptools
  ];
  buildPhase = ''
    python3.11 setup.py -q build_ext --inplace
    python3.11 check.py
  '';
  installPhase = "touch $out";
}
