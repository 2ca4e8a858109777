# Type: String -> [ Replacement ] -> [ Replacement ]
# The replacements that a version needs, each `{ from ? "0", before ? null, file, old, new }`.
{ lib }:
version:
lib.filter (
  {
    from ? "0",
    before ? null,
    ...
  }:
  lib.versionAtLeast version from && (before == null || lib.versionOlder version before)
)
