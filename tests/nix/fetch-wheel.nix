# Where a wheel comes from on each base.
let
  lib = import ../../nix/debian/lib;
  base = {
    inherit lib;
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
in
{
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
    expr = fetch (base // { bringFile = arguments: arguments; }) numpy;
    expected = {
      sha256 = "00";
      name = numpy.file;
      sentence = "not in the store; run: vllm-nix fetch cpu";
    };
  };
}
