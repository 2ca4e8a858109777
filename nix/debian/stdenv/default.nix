# stdenv and stdenvNoCC.
{
  lib,
  config,
  system,
  bash,
  bzip2,
  coreutils,
  diffutils,
  findutils,
  gawk,
  gcc,
  gnugrep,
  gnumake,
  gnused,
  gnutar,
  gzip,
  patch,
  patchelf,
  unzip,
  xz,
  zstd,
}:
let
  shell = "${bash}/bin/bash";
  cpu = lib.head (lib.splitString "-" system);
  hostPlatform = {
    inherit system;
    config = "${cpu}-unknown-linux-gnu";
    isLinux = true;
    isDarwin = false;
    is64bit = true;
    isx86_64 = cpu == "x86_64";
    isAarch64 = cpu == "aarch64";
    parsed.cpu.name = cpu;
    extensions.sharedLibrary = ".so";
  };

  tools = [
    coreutils
    findutils
    diffutils
    gnused
    gnugrep
    gawk
    gnutar
    gzip
    bzip2
    xz
    zstd
    unzip
    patch
    patchelf
    bash
  ];

  make =
    cc: tools:
    let
      setup = derivation {
        name = "stdenv";
        inherit system shell cc;
        initialPath = tools;
        script = ./setup.sh;
        builder = shell;
        args = [
          "-euc"
          ''
            text=$(< "$script")
            for name in shell cc initialPath; do text=''${text//"@$name@"/"''${!name}"}; done
            ${coreutils}/bin/mkdir "$out"
            printf '%s\n' "$text" > "$out/setup"
          ''
        ];
      };
      self = setup // {
        inherit
          cc
          shell
          hostPlatform
          ;
        mkDerivation = import ./make-derivation.nix {
          inherit
            lib
            system
            config
            shell
            setup
            ;
        };
        buildPlatform = hostPlatform;
        targetPlatform = hostPlatform;
        hasCC = cc != null;
        inherit (hostPlatform)
          isLinux
          isDarwin
          isx86_64
          isAarch64
          ;
        override = changes: make (changes.cc or cc) tools;
      };
    in
    self;
in
{
  stdenv = make gcc (tools ++ [ gnumake ]);
  stdenvNoCC = make null tools;
}
