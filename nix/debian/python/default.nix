# CPython 3.11 with the attributes that nixpkgs' interpreters have, and the packages for it.
{
  lib,
  newScope,
  callPackage,
  installed,
  wheels,
}:
let
  version = "3.11.2";
  python = installed // {
    inherit version;
    pname = "python3";
    interpreter = "${installed}/bin/python3.11";
    executable = "python3.11";
    pythonVersion = "3.11";
    libPrefix = "python3.11";
    sitePackages = "lib/python3.11/site-packages";
    implementation = "cpython";
    isPy3 = true;
    pythonAtLeast = lib.versionAtLeast "3.11";
    pythonOlder = lib.versionOlder "3.11";
    pkgs = lib.makeScope newScope (import ./packages.nix { inherit lib python wheels; });
    withPackages = select: callPackage ./environment.nix { inherit python; } (select python.pkgs);
    meta.mainProgram = "python3.11";
  };
in
python
