# `streamLayeredImage` as nixpkgs has it: a program that writes an image, as a docker-archive, to its standard
# output. The digests of the layers are known when it is built, so that nothing is read twice when it runs.
{
  lib,
  python3,
  runCommand,
  stdenv,
  symlinkJoin,
  writeText,
  writeTextFile,
}:
let
  architectures = {
    aarch64-linux = "arm64";
    x86_64-linux = "amd64";
  };
  epoch = "1970-01-01T00:00:01Z"; # the store's own
in
{
  streamLayeredImage =
    {
      name,
      tag ? null,
      contents ? [ ],
      config ? { },
      architecture ? architectures.${stdenv.hostPlatform.system},
      created ? epoch,
      mtime ? epoch,
      uid ? 0,
      gid ? 0,
      uname ? "root",
      gname ? "root",
      maxLayers ? 100,
      extraCommands ? "",
      layeringPipeline ? [
        [ "popularity_contest" ]
        [
          "limit_layers"
          (maxLayers - 1)
        ]
      ],
      passthru ? { },
      meta ? { },
    }:
    let
      python = python3.interpreter;
      imageName = lib.toLower name;
      imageTag =
        if tag != null then
          tag
        else
          lib.head (lib.splitString "-" (baseNameOf (builtins.unsafeDiscardStringContext description)));
      about = writeText "${name}-about.json" (
        builtins.toJSON {
          inherit
            architecture
            config
            created
            gid
            gname
            mtime
            uid
            uname
            ;
          store_dir = builtins.storeDir;
        }
      );
      pipeline = writeText "${name}-pipeline.json" (builtins.toJSON layeringPipeline);
      # What lies outside of the store, as a tar: the store would change its modes.
      files =
        runCommand "${name}-files"
          {
            tree = symlinkJoin {
              name = "${name}-tree";
              paths = lib.toList contents;
            };
          }
          ''
            mkdir root $out
            cp -a --no-preserve=mode $tree/. root
            (
              cd root
              ${extraCommands}
            )
            tar --create --file $out/layer.tar --directory root --sort name --format gnu \
              --mtime ${mtime} --owner ${uname}:${toString uid} --group ${gname}:${toString gid} .
          '';
      description =
        runCommand "${name}-layers.json"
          {
            exportReferencesGraph = [
              "about"
              about
              "files"
              files
            ];
          }
          ''
            cat about files > graph
            ${python} ${./layers.py} graph ${pipeline} ${about} ${files} > layers
            ${python} ${./image.py} describe ${about} layers ${files} > $out
          '';
    in
    writeTextFile {
      name = "stream-${name}";
      executable = true;
      text = ''
        #!${stdenv.shell}
        exec ${python} ${./image.py} stream ${description} ${imageName}:${imageTag}
      '';
      inherit meta;
      passthru = {
        inherit description imageName imageTag;
      }
      // passthru;
    };
}
