# A file that somebody provides: a fixed-output derivation that names no host. Its "url" is the
# sentence to read when the file is not in the store: Nix refuses it at once and quotes it, with no
# tool and no network, on every architecture.
{
  name,
  sentence,
  sha256 ? null,
  hash ? null,
  recursive ? false,
  passthru ? { },
}:
let
  characters = builtins.split "[^0-9A-Za-z+._?=-]" name;
  storeName = builtins.concatStringsSep "-" (builtins.filter builtins.isString characters);
in
assert (sha256 == null) != (hash == null) || throw "the source ${name} needs either sha256 or hash";
derivation {
  name = storeName;
  system = "builtin";
  builder = "builtin:fetchurl";
  url = sentence;
  urls = [ sentence ];
  outputHashMode = if recursive then "recursive" else "flat";
  outputHashAlgo = if hash == null then "sha256" else null;
  outputHash = if hash == null then sha256 else hash;
  preferLocalBuild = true;
}
// passthru
