# Type: AttrSet -> String -> AttrSet -> AttrSet
# Checks a target's data against targets/schema.toml: returns it, or throws the first fault as
# `<file>: <key>: <what is wrong>`. vllm_nix.targets.schema says the same in the same words.
{ keys, rules }:
file: data:
let
  inherit (builtins)
    all
    attrNames
    concatMap
    concatStringsSep
    elem
    filter
    getAttr
    hasAttr
    head
    isAttrs
    isList
    length
    split
    tail
    ;
  fault = text: throw "${file}: ${text}";

  parts = key: filter (part: !isList part) (split "[.]" key);
  patterns = map (key: {
    inherit key;
    parts = parts key;
  }) (attrNames keys);

  fits =
    path: pattern:
    all (i: builtins.elemAt pattern i == "*" || builtins.elemAt pattern i == builtins.elemAt path i) (
      builtins.genList (i: i) (length path)
    );
  # The patterns that begin with `path`, and the one that is `path` itself.
  beneath = path: filter (p: length p.parts > length path && fits path p.parts) patterns;
  exactly = path: filter (p: length p.parts == length path && fits path p.parts) patterns;

  unique =
    list:
    attrNames (
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = null;
        }) list
      )
    );
  known = path: unique (map (p: builtins.elemAt p.parts (length path)) (beneath path));

  aTypeOf = import ./type-of.nix;

  checkElement =
    key: spec: value:
    let
      allowed = spec.one-of or (attrNames rules.${spec.known});
      matches = value: builtins.match spec.match value != null;
    in
    if (spec ? one-of || spec ? known) && !elem value allowed then
      fault "${key}: \"${value}\" is not one of ${concatStringsSep ", " allowed}"
    else if spec ? match && !matches value then
      fault "${key}: \"${value}\" is not ${spec.form}"
    else
      value;

  checkValue =
    key: spec: value:
    let
      wanted =
        if spec.type == "strings" then
          "a list"
        else if spec.type == "integer" then
          "an integer"
        else
          "a ${spec.type}";
      strangers = filter (element: !builtins.isString element) value;
    in
    if aTypeOf value != wanted then
      fault "${key}: expected ${wanted}, got ${aTypeOf value}"
    else if wanted == "a string" then
      checkElement key spec value
    else if wanted != "a list" then
      value
    else if value == [ ] then
      fault "${key}: the list is empty"
    else if strangers != [ ] then
      fault "${key}: expected strings, got ${aTypeOf (head strangers)}"
    else
      map (checkElement key spec) value;

  checkTable =
    path: table:
    concatMap (
      name:
      let
        here = path ++ [ name ];
        key = concatStringsSep "." here;
        value = getAttr name table;
        spec = exactly here;
      in
      if spec != [ ] then
        [ (checkValue key keys.${(head spec).key} value) ]
      else if beneath here == [ ] then
        fault "unknown key '${key}'; known here: ${concatStringsSep ", " (known path)}"
      else if isAttrs value then
        checkTable here value
      else
        fault "${key}: expected a table, got ${aTypeOf value}"
    ) (attrNames table);

  # The keys of a pattern that the data lacks; where it has a `*`, one for each table there is.
  lacking =
    here: path: value:
    if path == [ ] then
      [ ]
    else if head path == "*" then
      concatMap (name: lacking (here ++ [ name ]) (tail path) value.${name}) (attrNames value)
    else if hasAttr (head path) value then
      lacking (here ++ [ (head path) ]) (tail path) value.${head path}
    else if elem "*" path then
      [ ]
    else
      [ (concatStringsSep "." (here ++ path)) ];
  init = list: builtins.genList (builtins.elemAt list) (length list - 1);
  isThere =
    path: value: path == [ ] || hasAttr (head path) value && isThere (tail path) value.${head path};
  missing = concatMap (p: lacking [ ] p.parts data) (
    filter (
      { key, parts }:
      keys.${key}.required or false || keys.${key}.required-in-table or false && isThere (init parts) data
    ) patterns
  );
in
builtins.deepSeq (checkTable [ ] data) (
  if missing != [ ] then fault "'${head missing}' is missing" else data
)
