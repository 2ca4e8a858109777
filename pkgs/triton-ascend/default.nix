# Triton for Ascend, of which the Python registry has releases up to 3.2.0 alone: Huawei's own index has the others.
{
  lib,
  stdenv,
  target,
  vendorFiles,
}:
let
  inherit (target.triton-ascend) version;
  inherit (stdenv.hostPlatform) system;
  releases = builtins.fromTOML (builtins.readFile ./files.toml);
  release =
    releases.${version}
      or (throw "triton-ascend ${version} is not known here; there are: ${lib.concatStringsSep ", " (lib.attrNames releases)}");
  inherit (import ../../nix/lib) lockFile pylock;
  lock = lockFile target.name system;
  locked = lib.optionals (builtins.pathExists lock) (pylock lock).wheels;
  handedOut = vendorFiles {
    whose = "Huawei's";
    of = "Triton for Ascend";
    rows = "pkgs/triton-ascend/files.toml";
    meta.license = lib.licenses.mit;
    versions = lib.listToAttrs (map ({ name, version, ... }: lib.nameValuePair name version) locked);
  };
in
handedOut.wheel "https://mirrors.huaweicloud.com/ascend/repos/pypi/triton-ascend" "triton-ascend" (
  release.${system} or (throw "triton-ascend ${version} is not known here for ${system}")
  // {
    inherit version;
  }
)
