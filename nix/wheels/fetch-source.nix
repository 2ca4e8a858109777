# Type: { pname, version, sources : Path } -> Path
# A source archive of the Python registry, or a wheel where the row has its tag (`wheel`); `sources` is
# the sources.toml with its sha256. The embedded base never downloads: `vllm-nix fetch` adds the file.
{
  providedFile ? null,
  fetchPypi,
  lib,
  sourceRow,
}:
{
  pname,
  version,
  sources,
}:
let
  # Older archives are called by the name itself, newer ones with "_" for "-" (PEP 625).
  name = row.name or (lib.replaceStrings [ "-" ] [ "_" ] pname);
  row = sourceRow sources pname version;
in
if providedFile != null then
  providedFile {
    inherit (row) sha256;
    name = "${name}-${version}${if row ? wheel then "-${row.wheel}.whl" else ".tar.gz"}";
    sentence = "not in the store; run: vllm-nix fetch vllm-sources";
  }
else
  fetchPypi (
    {
      inherit version;
      inherit (row) sha256;
      pname = name;
    }
    // lib.optionalAttrs (row ? wheel) {
      format = "wheel";
      dist = "py3";
      python = "py3";
    }
  )
