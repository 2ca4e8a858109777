# Where a wheel comes from on each base.
let
  lib = import ../../nix/debian/lib;
  base = {
    inherit lib;
    stdenv.hostPlatform.system = "aarch64-linux";
    fetchPypi = arguments: { fetchPypi = arguments; };
    fetchurl = arguments: { fetchurl = arguments; };
  };
  fetch =
    base:
    import ../../nix/wheels/fetch.nix base {
      target = "cpu";
      index.torch = "https://index.example/cpu";
    };
  numpy = {
    name = "numpy";
    file = "numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.whl";
    sha256 = "00";
  };

  # Every locked file with what it is asked by, of nixpkgs' fetchers.
  inherit (import ../../nix/lib)
    indexesFor
    lockFile
    lockedTargets
    pylock
    ;
  asked =
    lib.concatMap
      (
        system:
        lib.concatLists (
          lib.mapAttrsToList (
            name: target:
            let
              index = indexesFor system target;
              fetchIt = import ../../nix/wheels/fetch.nix base {
                inherit index;
                target = name;
              };
            in
            map (wheel: {
              inherit system wheel;
              by = fetchIt wheel;
            }) (pylock (lockFile name system)).wheels
          ) (lockedTargets system)
        )
      )
      [
        "aarch64-linux"
        "x86_64-linux"
      ];
  ofRegistry = lib.filter (each: each.by ? fetchPypi) asked;
  ofIndex = lib.filter (each: each.by ? fetchurl) asked;
  # As nixpkgs' fetchPypi puts its arguments together.
  nameOf =
    {
      pname,
      version,
      python,
      abi,
      platform,
      ...
    }:
    "${pname}-${version}-${python}-${abi}-${platform}.whl";
in
{
  "every locked file has its own name at the registry" = {
    expr = lib.filter (each: nameOf each.by.fetchPypi != each.wheel.file) ofRegistry;
    expected = [ ];
  };
  # A registry takes no local versions (PEP 440), and PyTorch's index for processors has no others.
  "none of the registry's is of another index" = {
    expr = lib.filter (each: lib.hasInfix "+" each.wheel.version) ofRegistry;
    expected = [ ];
  };
  "none of another index is the registry's" = {
    expr = map (each: each.by.fetchurl.url) (
      lib.filter (
        each:
        let
          place = "https://download.pytorch.org/whl/cpu/";
          file = lib.replaceStrings [ "+" ] [ "%2B" ] each.wheel.file;
        in
        !(lib.hasSuffix "+cpu" each.wheel.version && each.by.fetchurl.url == place + file)
      ) ofIndex
    );
    expected = [ ];
  };
  "torch for aarch64 is the registry's where there is an accelerator" = {
    expr = map (each: each.wheel.file) (lib.filter (each: each.system == "aarch64-linux") ofIndex);
    expected = [ "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_aarch64.whl" ];
  };
  "nixpkgs asks the registry" = {
    expr = fetch base numpy;
    expected.fetchPypi = {
      sha256 = "00";
      format = "wheel";
      pname = "numpy";
      version = "2.4.6";
      dist = "cp311";
      python = "cp311";
      abi = "cp311";
      platform = "manylinux_2_27_x86_64";
    };
  };
  "a build tag stays with the version" = {
    expr = (fetch base (numpy // { file = "numpy-2.4.6-1-py3-none-any.whl"; })).fetchPypi.version;
    expected = "2.4.6-1";
  };
  "nixpkgs asks the target's own index" = {
    expr = fetch base {
      name = "torch";
      file = "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl";
      sha256 = "00";
    };
    expected.fetchurl = {
      sha256 = "00";
      name = "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl";
      url = "https://index.example/cpu/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl";
    };
  };
  "the embedded base names the command" = {
    expr = fetch (base // { providedFile = arguments: arguments; }) numpy;
    expected = {
      sha256 = "00";
      name = numpy.file;
      sentence = "not in the store; run: vllm-nix fetch cpu --system aarch64-linux";
    };
  };
}
