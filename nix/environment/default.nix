# What belongs in this folder: how unpacked wheels become a tree that runs, and what it finds on the host when
# it does. launcher.sh has a part for each kind of the host's software: driver, CANN, Neuron.
#
# Type: { target, wheels, models ? { <owner>/<name> = Path }, passthru ? { } } -> Derivation
# Wheels assembled into an environment: links to the wheels, a launcher, the manifest. `target` is a value of
# lib.targets, `wheels` a list of what nix/wheels/unpack makes.
{
  bash,
  bundle,
  coreutils,
  cudaHome,
  environmentTests,
  image,
  lib,
  linkFarm,
  numactl,
  patchelf,
  pkgs,
  published,
  python,
  runCommand,
  stdenv,
  stdenvNoCC,
  writeText,
}:
{
  target,
  wheels,
  models ? { },
  passthru ? { },
}:
let
  drivers = target.driver.libraries or [ ];
  # verl binds its workers to processors by this (verl/utils/distributed.py, set_numa_affinity).
  opened = lib.optionalAttrs (lib.any (wheel: wheel.pname == "verl") wheels) {
    "libnuma.so" = "${lib.getLib numactl}/lib/libnuma.so.1";
  };
  # The launcher's parts for what is the host's.
  hostSoftware =
    lib.optionalString (drivers != [ ]) (
      import ./driver.nix {
        inherit
          lib
          opened
          stdenv
          target
          ;
      }
    )
    + lib.optionalString (target ? cann) (import ./cann.nix { inherit lib python target; })
    + lib.optionalString (target ? neuron) (builtins.readFile ./neuron.sh);
  tools = map (name: lib.getBin pkgs.${name}) (target.run.tools or [ ]);

  hasCompiler = lib.any (wheel: wheel.pname == "nvidia-cuda-nvcc") wheels;
  variables =
    lib.optionalAttrs hasCompiler { CUDA_HOME = "${cudaHome wheels}"; } // target.run.env or { };

  manifest = writeText "target.json" (
    builtins.toJSON {
      schema = 1;
      target = target.name;
      inherit (target) python;
      inherit (stdenv.hostPlatform) system;
      parameters = target;
      driver-libraries = drivers ++ target.cann.libraries or [ ];
      base = {
        python = "${python}";
        tools = map toString tools;
      };
      wheels = map (
        wheel:
        {
          inherit (wheel) version file sha256;
          name = wheel.pname;
          path = "${wheel}";
        }
        // lib.optionalAttrs (wheel.without or [ ] != [ ]) { inherit (wheel) without; }
      ) wheels;
    }
  );

  launcher =
    lib.replaceStrings
      [
        "@bash@"
        "@coreutils@"
        "@exports@"
        "@path@"
        "@python@"
      ]
      [
        "${bash}"
        "${coreutils}"
        (lib.concatStringsSep "\n" (
          lib.mapAttrsToList (name: value: "export ${name}=${lib.escapeShellArg value}") variables
        ))
        (lib.makeBinPath tools)
        python.interpreter
      ]
      (lib.replaceStrings [ "@host-software@" ] [ hostSoftware ] (builtins.readFile ./launcher.sh));
  licenses = import ../wheels/licenses.nix;
  # Where `vllm-nix serve` looks after the download folder.
  link =
    name: path:
    "install -d $out/share/vllm-nix/models/${dirOf name}; ln -s ${path} $out/share/vllm-nix/models/${name}";
  environment =
    runCommand "vllm-${target.name}"
      {
        nativeBuildInputs = [ python ];
        passthru = passthru // {
          inherit
            launcher
            manifest
            models
            target
            tools
            ;
          bundle = bundle environment;
          image = image environment;
          components = wheels;
          published = published {
            inherit environment target wheels;
            # What unpacks the rest, and makes the environment.
            base = [
              bash
              coreutils
              numactl
              patchelf
              python
              python.pkgs.installer
              python.pkgs.packaging
              python.pkgs.pyelftools
              stdenv
              stdenvNoCC
            ]
            ++ tools;
          };
          tests = environmentTests { inherit target wheels; };
          wheels = linkFarm "vllm-${target.name}-wheels" (
            map (wheel: {
              name = wheel.file;
              path = wheel.src;
            }) wheels
          );
        };
        meta = {
          description = target.summary;
          mainProgram = "vllm";
          platforms = target.systems;
          sourceProvenance = lib.unique (lib.concatMap (wheel: wheel.meta.sourceProvenance or [ ]) wheels);
        }
        // licenses.meta ([ lib.licenses.asl20 ] ++ licenses.ofPackages wheels); # vLLM's, and what is not free
      }
      ''
        ${python.interpreter} ${./assemble.py} ${manifest} $out \
          --python ${python.interpreter} --launcher ${writeText "launcher" launcher} \
          --placeholders ${../targets/placeholders.toml}
        ${lib.concatStringsSep "\n" (lib.mapAttrsToList link models)}
      '';
in
environment
