# What may be set of a profile, as options: the keys `serve.*` of targets/schema.toml, with their types.
{ lib }:
let
  inherit (lib) types;
  prefix = "serve.*.";
  # These are the service's own, are options of it, or say nothing to vLLM.
  elsewhere = [
    "api-key-file"
    "arguments"
    "download-dir"
    "summary"
  ];
  schema = lib.importTOML ../targets/schema.toml;
  keys = lib.filterAttrs (key: _: !lib.elem key elsewhere && !lib.hasInfix "*" key) (
    lib.mapAttrs' (key: lib.nameValuePair (lib.removePrefix prefix key)) (
      lib.filterAttrs (key: _: lib.hasPrefix prefix key) schema
    )
  );

  byName = {
    boolean = types.bool;
    float = types.float;
    integer = types.ints.unsigned;
    string = types.str;
    strings = types.listOf types.str;
  };
  typeOf =
    key: spec:
    if key == "port" then
      types.port
    else if spec ? one-of then
      types.enum spec.one-of
    else if spec ? match then
      types.addCheck types.str (text: builtins.match spec.match text != null)
      // {
        description = spec.form;
      }
    else
      byName.${spec.type};
in
lib.mapAttrs (
  key: spec:
  lib.mkOption {
    type = types.nullOr (typeOf key spec);
    default = null;
    defaultText = lib.literalMD "the profile's";
    description = "The profile's `${key}`: ${spec.help or spec.form}.";
  }
) keys
