# Type: String -> AttrSet -> AttrSet
# One server, from its options: with `values`, all of its profile's, checked; `given`, those that `vllm-nix
# serve` does not know by itself; `nodes`, how many hosts serve it; `models`, which a hub has, and `strangers`, which are no model's name.
{ lib }:
let
  inherit (import ../lib) changeTarget targets;
  keys = import ./settings.nix { inherit lib; };
in
name: options:
let
  # The package's own parameters: overrideTarget may have changed them.
  parameters = options.package.target or targets.${options.target};
  profiles = parameters.serve or { };
  known = targets.${options.target}.serve.${options.profile} or { };
  settings = lib.filterAttrs (_: value: value != null) options.settings;
  # Checked as a target file is: what the schema or the rules refuse would end the service at its start.
  checked = changeTarget { serve.${options.profile} = settings; } parameters;
  values = checked.serve.${options.profile};
  models = [ values.model ] ++ lib.optional (values ? draft-model) values.draft-model;
  isName =
    model: builtins.match "[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*" model != null;
in
if !(profiles ? ${options.profile}) then
  throw "services.vllm.${name}: target '${options.target}' has no profile '${options.profile}'; it has: ${lib.concatStringsSep ", " (lib.attrNames profiles)}"
else
  options
  // {
    inherit name parameters values;
    nodes = values.nodes or 1;
    given = lib.filterAttrs (key: value: keys ? ${key} && (known.${key} or null) != value) values;
    models = lib.filter isName models;
    strangers = lib.filter (model: !isName model && !lib.hasPrefix "/" model) models;
    isKnown = (values.arguments or [ ]) == (known.arguments or [ ]);
  }
