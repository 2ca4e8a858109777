{ lib, provided }:
{
  url ? null,
  urls ? [ ],
  name ? null,
  sha256 ? null,
  hash ? null,
  passthru ? { },
  meta ? { },
  ...
}@arguments:
let
  addresses = lib.optional (url != null) url ++ urls;
  file = if name != null then name else baseNameOf (lib.head addresses);
in
provided {
  name = file;
  sha256 = if sha256 == "" then null else sha256;
  inherit hash;
  recursive = arguments.recursiveHash or false || arguments.executable or false;
  sentence = "not in the store; add ${file} from ${toString addresses} with: nix-store --add-fixed sha256 ${file}";
  passthru = passthru // {
    inherit meta;
  };
}
