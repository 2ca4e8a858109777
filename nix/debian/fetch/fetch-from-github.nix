# The tree of a commit. Its hash and its name are those of nixpkgs, so that a tree which nixpkgs
# fetched is found here, and the other way round.
{ lib, provided }:
{
  owner,
  repo,
  rev ? null,
  tag ? null,
  name ? "source",
  sha256 ? null,
  hash ? null,
  fetchSubmodules ? false,
  meta ? { },
  ...
}:
let
  revision = if tag != null then "refs/tags/${tag}" else rev;
  what = "the tree of ${owner}/${repo} at ${revision}${lib.optionalString fetchSubmodules " with its submodules"}";
in
assert lib.assertMsg (
  (rev == null) != (tag == null)
) "fetchFromGitHub: ${owner}/${repo} needs either rev or tag";
provided {
  inherit name sha256 hash;
  recursive = true;
  sentence = "not in the store; add ${what} as a folder named ${name} with: nix-store --add-fixed --recursive sha256 ${name}";
  passthru = {
    inherit
      meta
      owner
      repo
      rev
      tag
      ;
  };
}
