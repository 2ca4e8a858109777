# A source archive or a wheel of the Python registry, by the name that it has there.
{ provided }:
{
  pname,
  version,
  format ? "setuptools",
  extension ? "tar.gz",
  dist ? "py2.py3",
  python ? "py2.py3",
  abi ? "none",
  platform ? "any",
  sha256 ? null,
  hash ? null,
}:
let
  file =
    if format == "wheel" then
      "${pname}-${version}-${if python == "py2.py3" then dist else python}-${abi}-${platform}.whl"
    else
      "${pname}-${version}.${extension}";
in
provided {
  name = file;
  inherit sha256 hash;
  sentence = "not in the store; download it from the Python registry, and add ${file} with: nix-store --add-fixed sha256 ${file}";
}
