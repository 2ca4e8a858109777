# As much of nixpkgs' module system as nix/nixos asks for, with its messages, for machines that have no
# nixpkgs: no package of a registry has its lib. VLLM_NIX_NIXPKGS_LIB=<nixpkgs>/lib takes the real one.
lib:
let
  inherit (builtins)
    all
    attrNames
    concatLists
    concatStringsSep
    filter
    foldl'
    isAttrs
    isList
    isString
    ;
  show = path: concatStringsSep "." path;

  # Types: what a value must be, and what becomes of it.
  leaf = description: check: {
    inherit description check;
    evaluate = _: value: value;
  };
  types = rec {
    anything = leaf "anything" (_: true);
    bool = leaf "boolean" builtins.isBool;
    float = leaf "floating point number" builtins.isFloat;
    str = leaf "string" isString;
    port = leaf "16 bit unsigned integer" (value: ints.unsigned.check value && value < 65536);
    ints.unsigned = leaf "unsigned integer" (value: builtins.isInt value && value >= 0);
    package = leaf "package" (value: value.type or null == "derivation");
    externalPath = leaf "absolute path not in the Nix store" (
      value: isString value && lib.hasPrefix "/" value && !lib.hasPrefix builtins.storeDir value
    );
    enum = allowed: leaf "one of ${concatStringsSep ", " allowed}" (value: lib.elem value allowed);
    addCheck = type: check: type // { check = value: type.check value && check value; };
    nullOr =
      type:
      leaf "null or ${type.description}" (value: value == null || type.check value)
      // {
        evaluate = path: value: if value == null then null else type.evaluate path value;
      };
    listOf = type: leaf "list of ${type.description}" (value: isList value && all type.check value);
    attrsOf = type: {
      description = "attribute set of ${type.description}";
      check = isAttrs;
      evaluate = path: builtins.mapAttrs (name: evaluateOption type (path ++ [ name ]));
    };
    submodule = module: {
      description = "submodule";
      check = isAttrs;
      evaluate =
        path: value:
        let
          arguments = {
            inherit config;
            name = lib.last path;
          };
          config = evaluate path (call module arguments).options value;
        in
        config;
    };
  };
  evaluateOption =
    type: path: value:
    if type.check value then
      type.evaluate path value
    else
      throw "A definition for option `${show path}' is not of type `${type.description}'.";

  call =
    module: arguments:
    let
      content = if builtins.isPath module then import module else module;
    in
    if builtins.isFunction content then content arguments else content;

  # A tree of options, with the values that are defined for it.
  evaluate =
    path: options: values:
    let
      unknown = attrNames (removeAttrs values (attrNames options));
      one =
        name: option:
        let
          here = path ++ [ name ];
        in
        if option._type or null != "option" then
          evaluate here option (values.${name} or { })
        else if values ? ${name} then
          evaluateOption option.type here values.${name}
        else if option ? default then
          evaluateOption option.type here option.default
        else
          throw "The option `${show here}' was accessed but has no value defined.";
    in
    if unknown != [ ] then
      throw "The option `${show (path ++ [ (builtins.head unknown) ])}' does not exist."
    else
      builtins.mapAttrs one options;

  merge =
    path: values:
    let
      first = builtins.head values;
    in
    if builtins.length values == 1 then
      first
    else if all (value: isAttrs value && value.type or null != "derivation") values then
      builtins.zipAttrsWith (name: merge (path ++ [ name ])) values
    else if all isList values then
      concatLists values
    else if all (value: value == first) values then
      first
    else
      throw "The option `${show path}' has conflicting definition values.";
in
{
  inherit types;
  mkOption = option: option // { _type = "option"; };
  mkEnableOption = text: {
    _type = "option";
    type = types.bool;
    default = false;
    description = "Whether to enable ${text}.";
  };
  literalExpression = text: text;
  literalMD = text: text;

  # Type: { modules, specialArgs } -> { config, options }
  evalModules =
    { modules, specialArgs }:
    let
      called = map (module: call module (specialArgs // { inherit config; })) modules;
      declared = filter (m: m ? options) called;
      options = foldl' (all: m: lib.recursiveUpdate all m.options) { } declared;
      definitions = map (m: m.config or (removeAttrs m [ "options" ])) called;
      config = evaluate [ ] options (merge [ ] (filter (d: d != { }) definitions));
    in
    {
      inherit config options;
    };
}
