# What needs no build: { expr; expected; }, compared by tests/builds/test_debian.py.
let
  import' = arguments: import ../. ({ system = "x86_64-linux"; } // arguments);
  pkgs = import' { };
  inherit (pkgs) lib;
  overlaid = import' {
    config.unknownKey = true;
    overlays = [
      (final: prev: {
        answer = final.question + 1;
        zlib = prev.zlib // {
          replaced = true;
        };
      })
      (_: _: { question = 41; })
    ];
  };
  package = pkgs.callPackage (
    {
      stdenv,
      flag ? "off",
    }:
    stdenv.mkDerivation (finalAttrs: {
      pname = "sample";
      version = "1";
      label = "${finalAttrs.pname}-${finalAttrs.version}-${flag}";
      passthru.seen = finalAttrs.finalPackage.label;
      env.VARIABLE = "value";
      meta.broken = false;
    })
  ) { };
  scope = lib.makeScope pkgs.newScope (self: {
    one = 1;
    two = self.callPackage ({ one }: lib.genAttrs [ "value" ] (_: one + 1)) { };
  });
in
{
  overlaysSeeTheFinalSet = {
    expr = overlaid.answer;
    expected = 42;
  };
  overlaysReachEveryPackage = {
    expr = (overlaid.callPackage ({ zlib }: zlib) { }).replaced;
    expected = true;
  };
  extendAddsAnOverlay = {
    expr = (overlaid.extend (_: prev: { answer = prev.answer * 2; })).answer;
    expected = 84;
  };
  finalAttrsFollowOverrideAttrs = {
    expr = (package.overrideAttrs { version = "2"; }).label;
    expected = "sample-2-off";
  };
  overrideAttrsSeesThePrevious = {
    expr =
      (package.overrideAttrs (previous: {
        version = previous.version + ".1";
      })).name;
    expected = "sample-1.1";
  };
  overrideKeepsOverrideAttrs = {
    expr = ((package.overrideAttrs { version = "3"; }).override { flag = "on"; }).label;
    expected = "sample-3-on";
  };
  passthruSeesTheFinalPackage = {
    expr = (package.override { flag = "on"; }).seen;
    expected = "sample-1-on";
  };
  envReachesTheBuilder = {
    expr = package.VARIABLE;
    expected = "value";
  };
  scopesOverlay = {
    expr = (scope.overrideScope (_: _: { one = 10; })).two.value;
    expected = 11;
  };
  aWheelHasItsRegistryName = {
    expr = builtins.match ".*-(sample-1-py3-none-any.whl)" (
      toString (
        pkgs.fetchPypi {
          pname = "sample";
          version = "1";
          format = "wheel";
          dist = "py3";
          python = "py3";
          hash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        }
      )
    );
    expected = [ "sample-1-py3-none-any.whl" ];
  };
  eachDebianPackageIsInOneGroup = {
    expr =
      let
        lists = lib.mapAttrsToList (_: group: map toString group.debs) pkgs.debianGroups;
        all = lib.flatten lists;
      in
      lib.length all - lib.length (lib.unique all);
    expected = 0;
  };
  theLockHoldsTheGroupsAndTheFirstTool = {
    expr =
      let
        lock = lib.importJSON ../debs.x86_64-linux.json;
        used = lib.concatMap (group: map (deb: deb.outputHash) group.debs) (
          lib.attrValues pkgs.debianGroups
        );
      in
      lib.subtractLists used (
        lib.mapAttrsToList (_: package: package.sha256) (removeAttrs lock.packages [ "busybox-static" ])
      );
    expected = [ ];
  };
  bothArchitecturesHaveTheSameGroups = {
    expr = lib.attrNames (import' { system = "aarch64-linux"; }).debianGroups;
    expected = lib.attrNames pkgs.debianGroups;
  };
}
