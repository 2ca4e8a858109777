rec {
  inherit (builtins)
    isBool
    isInt
    isFloat
    isList
    isPath
    lessThan
    toJSON
    ;
  id = value: value;
  const = value: _: value;
  flip =
    f: one: two:
    f two one;
  pipe = builtins.foldl' (value: f: f value);
  min = one: two: if one < two then one else two;
  max = one: two: if one > two then one else two;
  importJSON = file: builtins.fromJSON (builtins.readFile file);
  importTOML = file: builtins.fromTOML (builtins.readFile file);
  throwIf = condition: message: if condition then throw message else id;
  throwIfNot = condition: throwIf (!condition);
  assertMsg = condition: message: condition || throw message;
  warn = message: builtins.trace "warning: ${message}";
  warnIf = condition: message: if condition then warn message else id;
  warnIfNot = condition: warnIf (!condition);
  inherit (builtins) seq deepSeq;
  defaultTo = default: value: if value == null then default else value;
  isStringLike =
    value: builtins.isString value || builtins.isPath value || value ? outPath || value ? __toString;
}
