# Type: { names, read } -> String -> AttrSet -> AttrSet
# What a target's file says, over what it takes from the target that it `extends`: `read` gives the file of
# one of `names` as it stands. Throws `<file>: <key>: <what is wrong>`. vllm_nix.targets.extends does the
# same in the same words.
{ names, read }:
let
  inherit (builtins)
    attrNames
    concatStringsSep
    elem
    filter
    foldl'
    isAttrs
    isList
    isString
    ;
  aTypeOf = import ./type-of.nix;
  words = [
    "extends"
    "add"
    "remove"
  ];
  table = value: if isAttrs value then value else { };
  over = import ./over.nix;

  extend =
    chain: file: own:
    let
      fault = text: throw "${file}: ${text}";
      parent = own.extends;
      inherited = extend (chain ++ [ parent ]) "nix/targets/${parent}/target.toml" (read parent);

      # The base with `change` made of each list that `wanted`, a tree of the same shape, has.
      each =
        change: key: wanted: base:
        if isList wanted then
          let
            strangers = filter (element: !isString element) wanted;
          in
          if strangers != [ ] then
            fault "${key}: expected strings, got ${aTypeOf (builtins.head strangers)}"
          else
            change key wanted base
        else if isAttrs wanted then
          foldl' (
            base: name:
            let
              value = each change "${key}.${name}" wanted.${name} (base.${name} or null);
            in
            # A list or a table whose last element goes, goes as well.
            if value == [ ] || value == { } then removeAttrs base [ name ] else base // { ${name} = value; }
          ) (table base) (attrNames wanted)
        else
          fault "${key}: expected a table or a list, got ${aTypeOf wanted}";
      add =
        key: wanted: base:
        if isList base then base ++ wanted else fault "${key}: ${parent} has no such list";
      remove =
        key: wanted: base:
        let
          has = name: if isList base then elem name base else base ? ${name};
          unknown = filter (name: !has name) wanted;
        in
        if !isList base && !isAttrs base then
          fault "${key}: ${parent} has no such list or table"
        else if unknown != [ ] then
          fault "${key}: ${parent} has no '${builtins.head unknown}' there"
        else if isList base then
          filter (element: !elem element wanted) base
        else
          removeAttrs base wanted;
    in
    if !(own ? extends) then
      foldl' (
        data: word:
        if own ? ${word} then fault "${word}: 'extends' names no target that it changes" else data
      ) own words
    else if !isString parent then
      fault "extends: expected a string, got ${aTypeOf parent}"
    else if !elem parent names then
      fault "extends: unknown target '${parent}'; there are: ${concatStringsSep ", " names}"
    else if elem parent chain then
      fault "extends: a cycle: ${concatStringsSep " -> " (chain ++ [ parent ])}"
    else
      over (each add "add" (own.add or { }) (each remove "remove" (own.remove or { }) inherited)) (
        removeAttrs own words
      );
in
extend [ ]
