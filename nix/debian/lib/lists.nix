rec {
  inherit (builtins)
    all
    any
    elem
    elemAt
    filter
    foldl'
    head
    length
    map
    concatLists
    concatMap
    genList
    sort
    tail
    partition
    ;
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  singleton = value: [ value ];
  toList = value: if builtins.isList value then value else [ value ];
  flatten = value: if builtins.isList value then concatMap flatten value else [ value ];
  unique = foldl' (seen: value: if elem value seen then seen else seen ++ [ value ]) [ ];
  subtractLists = without: filter (value: !(elem value without));
  intersectLists = with': filter (value: elem value with');
  foldr =
    f: initial: values:
    foldl' (later: value: f value later) initial (reverseList values);
  reverseList =
    values:
    let
      count = length values;
    in
    genList (index: elemAt values (count - 1 - index)) count;
  last = values: elemAt values (length values - 1);
  init = values: genList (elemAt values) (length values - 1);
  take =
    count: values: genList (elemAt values) (if count < length values then count else length values);
  range =
    first: last: if first > last then [ ] else genList (index: first + index) (last - first + 1);
  zipListsWith =
    f: one: two:
    genList (index: f (elemAt one index) (elemAt two index)) (
      if length one < length two then length one else length two
    );
  imap0 = f: values: genList (index: f index (elemAt values index)) (length values);
  findFirst =
    accepts: default: values:
    let
      found = filter accepts values;
    in
    if found == [ ] then default else head found;
  count = accepts: values: length (filter accepts values);
}
