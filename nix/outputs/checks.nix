# What `nix flake check` builds, in minutes and in an ordinary sandbox: the pure Nix tests, the form of the
# files, the library's tests, and the environment that needs no accelerator, answering a request. All else is
# in hydraJobs, and in `passthru.tests` of each package.
system: pkgs:
let
  inherit (pkgs) lib vllmPackages;
  folder = ../../tests/nix;
  cases = lib.concatMap (
    file:
    lib.mapAttrsToList (name: case: {
      name = "${file}: ${name}";
      isGood = case.expr == case.expected;
    }) (import (folder + "/${file}"))
  ) (lib.filter (lib.hasSuffix ".nix") (lib.attrNames (builtins.readDir folder)));
  failures = map (case: case.name) (lib.filter (case: !case.isGood) cases);

  isOnCpu = target: target.vllm.device == "cpu";
  onCpu = lib.filterAttrs (_: isOnCpu) ((import ../lib).lockedTargets system);

  nixfmt = builtins.tryEval (pkgs.nixfmt or (throw "no nixfmt"));
  ruff = builtins.tryEval (pkgs.ruff or (throw "no ruff"));
in
{
  # In a list, so that the tests are not evaluated until the derivation is: `nix flake show` asks its name.
  nix = pkgs.runCommand "nix-tests" {
    nativeBuildInputs = [
      (
        if failures == [ ] then pkgs.coreutils else throw "tests/nix: ${lib.concatStringsSep "; " failures}"
      )
    ];
  } "touch $out";
  library = vllmPackages.vllm-nix.tests.library;
}
// lib.mapAttrs' (name: _: {
  name = "vllm-${name}";
  value = vllmPackages."vllm-${name}".tests.serve;
}) onCpu
// lib.optionalAttrs (nixfmt.success && ruff.success) {
  format =
    pkgs.runCommand "format"
      {
        nativeBuildInputs = [
          nixfmt.value
          ruff.value
        ];
      }
      ''
        cp -r --no-preserve=mode ${import ../../pkgs/vllm-nix/repository.nix} repository
        cd repository
        find . -name '*.nix' -exec nixfmt --check {} +
        # Not `ruff check`: what it finds goes by its release, and `make lint` has the one that is locked.
        ruff format --no-cache --check --config python/pyproject.toml .
        touch $out
      '';
}
