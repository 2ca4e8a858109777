{ stdenv }:
stdenv.mkDerivation {
  name = "test-compile";
  src = ./.;
  buildPhase = ''
    g++ -O2 -fopenmp -pthread main.cpp -o main
  '';
  doCheck = true;
  checkPhase = "OMP_NUM_THREADS=2 ./main";
  installPhase = "install -D main $out/bin/main";
}
