# Type: Derivation -> Derivation
# An environment as an OCI image: docs/images.md. The result is a program that writes it. Paths of the store are
# the layers, the same in each target's image that has them; the last layer is what lies outside of the store.
{
  bash,
  coreutils,
  lib,
  numactl,
  pkgs,
  python,
  runCommand,
}:
environment:
let
  inherit (environment) target;
  home = "/home/vllm";
  cache = "${home}/.cache/huggingface";
  port = "8000";
  isCuda = (target.driver.libraries or [ ]) != [ ];
  slim = target.wheels.slim or null;
  chat = target.serve.chat or { }; # the profile
  commands = [
    bash
    coreutils
  ];

  # Layers, from what changes least: what everything stands on, large wheels and models by themselves, small
  # wheels together, vLLM, the environment. There may be 127; leave some to those who build upon the image.
  isVllm =
    wheel:
    lib.elem wheel.pname [
      "vllm"
      target.vllm.distribution
    ];
  isLarge = wheel: isVaried wheel || wheel.size or null == null || wheel.size > 2000000; # the lock has it
  # What a slim image has otherwise: above what both have. Closed ones are slim in no image.
  isVaried =
    wheel:
    lib.elem wheel.pname (lib.importTOML ../../wheels/slim.toml).distributions && !isClosed wheel
    || lib.any (row: row ? capabilities-below) (rows.${wheel.pname} or [ ]);
  isClosed = wheel: (import ../../wheels/licenses.nix).ofDistribution wheel.pname != [ ];
  rows = lib.importTOML ../../wheels/diet.toml;
  wheels = lib.partition isVllm environment.components;
  inherit (lib.partition isLarge wheels.wrong) right wrong;
  large = lib.partition isVaried right;
  base =
    commands
    ++ environment.tools
    ++ [
      numactl # that of vLLM's wheel
      python
    ];
  models = lib.attrValues environment.models;
  first = paths: [
    "subcomponent_out"
    (map toString paths)
  ];
  over = part: steps: [
    "over"
    part
    [
      "pipe"
      steps
    ]
  ];
  oneEach =
    most:
    over "main" [
      [ "popularity_contest" ]
      [
        "limit_layers"
        most
      ]
    ];
  layers = [
    (first base)
    (oneEach 30)
    (over "rest" [
      (first (large.wrong ++ models))
      (oneEach 50)
      (over "rest" [
        (first large.right)
        (oneEach 25)
        (over "rest" [
          (first wrong)
          (over "rest" [ (first wheels.right) ])
        ])
      ])
    ])
  ];

  script =
    name:
    runCommand name { } ''
      substitute ${./. + "/${name}.sh"} $out --subst-var-by bash ${bash}
      chmod +x $out
    '';

  spdx =
    license:
    if license.spdxId or null != null then
      license.spdxId
    else
      "LicenseRef-${lib.replaceStrings [ " " ] [ "-" ] license.shortName}";
  isModified = license: lib.hasSuffix ", modified" license.shortName;
  licenses = environment.meta.license;
  # Scalars and lists of the target, by the names that its file has.
  parameters =
    lib.concatMapAttrs
      (
        section: value:
        if lib.isAttrs value then
          lib.concatMapAttrs (key: value: { "vllm-nix.${section}.${key}" = value; }) (
            lib.filterAttrs (_: value: !lib.isAttrs value) value
          )
        else
          { "vllm-nix.${section}" = value; }
      )
      (
        removeAttrs target [
          "environment"
          "requirements"
          "run"
          "serve"
          "shell"
          "summary"
          "wheels"
        ]
      );
  text =
    value:
    if lib.isList value then
      toString value
    else if lib.isString value then
      value
    else
      builtins.toJSON value;

  image = pkgs.dockerTools.streamLayeredImage {
    inherit (environment) name;
    tag = target.vllm.version + lib.optionalString (slim != null) "-slim";
    layeringPipeline = layers;
    extraCommands = ''
      mkdir -p bin usr/bin etc/ssl/certs models opt
      ln -s ${environment} opt/vllm
      ln -s ${bash}/bin/bash bin/bash
      ln -s bash bin/sh
      ln -s ${coreutils}/bin/env usr/bin/env
      ln -s ${script "entrypoint"} bin/entrypoint
      ln -s ${script "healthcheck"} bin/healthcheck
      for folder in tmp .${home} .${home}/.cache .${cache}; do
        mkdir -p -m 1777 "$folder"
      done
      for model in ${environment}/share/vllm-nix/models/*/*; do
        [[ -e $model ]] || continue
        owner=''${model%/*}
        mkdir -p "models/''${owner##*/}"
        ln -s "$model" "models/''${owner##*/}/''${model##*/}"
      done
      ln -s ${environment}/${python.sitePackages}/certifi/cacert.pem etc/ssl/certs/ca-certificates.crt
      cat > etc/passwd <<END
      root:x:0:0::/root:/bin/bash
      vllm:x:1000:1000::${home}:/bin/bash
      END
      cat > etc/group <<END
      root:x:0:
      vllm:x:1000:
      END
      echo 'hosts: files dns' > etc/nsswitch.conf
      # For the ldconfig that NVIDIA's container toolkit runs beside the libraries that it mounts.
      mkdir etc/ld.so.conf.d
      echo 'include /etc/ld.so.conf.d/*.conf' > etc/ld.so.conf
    '';
    config = {
      User = "1000:1000";
      Entrypoint = [ "/bin/entrypoint" ];
      Cmd = lib.optionals (lib.elem (chat.model or null) (target.models or [ ])) [
        "serve"
        chat.model
        "--gpu-memory-utilization=${builtins.toJSON chat.memory-share}"
        "-O${toString chat.optimization-level}"
      ];
      WorkingDir = "/models";
      ExposedPorts."${port}/tcp" = { };
      Volumes.${cache} = { };
      Env = [
        "HOME=${home}"
        "USER=vllm" # torch asks for it, and another user than 1000 has no name
        "PATH=/opt/vllm/bin:/bin:${coreutils}/bin"
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"
      ]
      ++ lib.optionals isCuda [
        "NVIDIA_VISIBLE_DEVICES=all"
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility"
      ];
      Healthcheck =
        let
          seconds = 1000000000;
        in
        {
          Test = [
            "CMD"
            "/bin/healthcheck"
            port
          ];
          Interval = 30 * seconds;
          Timeout = 10 * seconds;
          StartPeriod = 1800 * seconds; # large models take their time
          Retries = 3;
        };
      Labels = lib.mapAttrs (_: text) parameters // {
        "vllm-nix.redistributable" = text (lib.all (license: license.redistributable or true) licenses);
        "org.opencontainers.image.title" = environment.name;
        "org.opencontainers.image.description" = target.summary;
        "org.opencontainers.image.version" = target.vllm.version;
        "org.opencontainers.image.licenses" = lib.concatMapStringsSep " AND " spdx licenses;
      };
    };
  };
in
# vLLM before 0.5 has no `vllm serve`.
if lib.versionOlder target.vllm.version "0.5.5" then
  throw "${environment.name}.image: its vLLM ${target.vllm.version} has no `vllm serve`; build ${environment.name} itself"
else if lib.any isModified licenses then
  throw "${environment.name}.image: closed libraries that were changed must not be passed on; build slim.image, which changes free ones alone"
else
  image
