# Type: String -> [ Replacement ] -> [ Replacement ]
# The replacements that a version needs, each `{ from ? null, before ? null, file, old, new }`.
{ lib }:
version:
lib.filter (
  {
    from ? null,
    before ? null,
    ...
  }:
  # A commit is a version too, and "dc9d410b" is older than any number.
  (from == null || lib.versionAtLeast version from)
  && (before == null || lib.versionOlder version before)
)
