{ provided }:
{
  name ? baseNameOf url,
  sha256 ? null,
  hash ? null,
  url ? null,
  message ? "add ${name} with: nix-store --add-fixed sha256 ${name}",
  hashMode ? "flat",
}:
provided {
  inherit name sha256 hash;
  recursive = hashMode == "recursive";
  sentence = "not in the store; ${builtins.replaceStrings [ "\n" ] [ " " ] message}";
}
