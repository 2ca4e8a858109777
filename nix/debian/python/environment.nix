# python.withPackages: a virtual environment (PEP 405) whose path leads to the packages.
{
  lib,
  runCommand,
  python,
}:
packages:
let
  all = lib.unique (lib.concatMap (each: [ each ] ++ each.requiredPythonModules or [ ]) packages);
in
runCommand "python3-${python.version}-env"
  {
    inherit packages all;
    passthru =
      removeAttrs python [
        "outPath"
        "drvPath"
        "out"
        "all"
        "outputs"
        "name"
        "meta"
      ]
      // {
        inherit packages;
      };
    meta.mainProgram = "python3.11";
  }
  ''
    site=$out/${python.sitePackages}
    mkdir -p "$out/bin" "$site"
    printf 'home = ${python}/bin\ninclude-system-site-packages = false\n' > "$out/pyvenv.cfg"
    for name in python python3 python3.11; do ln -s ${python.interpreter} "$out/bin/$name"; done
    for package in $all; do echo "$package/${python.sitePackages}"; done > "$site/packages.pth"
    for package in $packages; do
      for script in "$package"/bin/*; do
        [[ -e $out/bin/''${script##*/} ]] || cp "$script" "$out/bin/"
      done
    done
    find "$out/bin" -type f -exec sed -i "1s|^#!${python}/bin/python.*|#!$out/bin/python3.11|" {} +
  ''
