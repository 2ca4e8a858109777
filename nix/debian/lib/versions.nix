rec {
  inherit (builtins) compareVersions splitVersion;
  versionOlder = one: two: compareVersions two one == 1;
  versionAtLeast = one: two: !(versionOlder one two);
  major = version: builtins.elemAt (splitVersion version) 0;
  minor = version: builtins.elemAt (splitVersion version) 1;
  patch = version: builtins.elemAt (splitVersion version) 2;
  majorMinor = version: "${major version}.${minor version}";
}
