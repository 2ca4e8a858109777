# Type: AttrSet -> String -> AttrSet -> AttrSet
# Checks a target's data against targets/schema.toml: returns it, or throws the first fault as
# `<file>: <key>: <what is wrong>`. vllm_nix.targets.schema says the same in the same words.
{ keys, rules }:
let
  inherit (builtins)
    all
    attrNames
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    groupBy
    hasAttr
    head
    isAttrs
    isList
    length
    mapAttrs
    split
    tail
    ;

  patterns = map (key: {
    inherit key;
    parts = filter (part: !isList part) (split "[.]" key);
  }) (attrNames keys);

  # The keys as nested tables, `*` for any name. At a key's end stands its row, whose type is a string.
  below =
    depth: group:
    mapAttrs (
      _: found:
      let
        first = head found;
      in
      if length first.parts == depth + 1 then keys.${first.key} else below (depth + 1) found
    ) (groupBy (pattern: elemAt pattern.parts depth) group);
  allKnown = below 0 patterns;
  isRow = known: builtins.isString (known.type or null);
in
file: data:
let
  fault = text: throw "${file}: ${text}";

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
    path: known: table:
    concatMap (
      name:
      let
        here = path ++ [ name ];
        key = concatStringsSep "." here;
        value = table.${name};
        found = known.${name} or known."*" or null;
      in
      if found == null then
        fault "unknown key '${key}'; known here: ${concatStringsSep ", " (attrNames known)}"
      else if isRow found then
        [ (checkValue key found value) ]
      else if isAttrs value then
        checkTable here found value
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
  init = list: builtins.genList (elemAt list) (length list - 1);
  isThere =
    path: value: path == [ ] || hasAttr (head path) value && isThere (tail path) value.${head path};
  missing = concatMap (p: lacking [ ] p.parts data) (
    filter (
      { key, parts }:
      keys.${key}.required or false || keys.${key}.required-in-table or false && isThere (init parts) data
    ) patterns
  );
in
builtins.deepSeq (checkTable [ ] allKnown data) (
  if missing != [ ] then fault "'${head missing}' is missing" else data
)
