{ lists }:
rec {
  inherit (builtins)
    concatStringsSep
    isString
    replaceStrings
    stringLength
    substring
    toJSON
    fromJSON
    match
    ;
  concatStrings = concatStringsSep "";
  concatMapStrings = f: values: concatStrings (map f values);
  concatMapStringsSep =
    separator: f: values:
    concatStringsSep separator (map f values);
  concatLines = concatMapStrings (line: line + "\n");
  optionalString = condition: text: if condition then text else "";
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      start = stringLength text - stringLength suffix;
    in
    start >= 0 && substring start (stringLength suffix) text == suffix;
  hasInfix = infix: text: replaceStrings [ infix ] [ "" ] text != text || infix == "";
  removePrefix =
    prefix: text:
    if hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else text;
  removeSuffix =
    suffix: text:
    if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
  escapeRegex = replaceStrings special (map (each: "\\${each}") special);
  special = [
    "\\"
    "."
    "*"
    "+"
    "?"
    "("
    ")"
    "["
    "]"
    "{"
    "}"
    "^"
    "$"
    "|"
  ];
  splitString =
    separator: text: builtins.filter isString (builtins.split (escapeRegex separator) text);
  escapeShellArg =
    value:
    let
      text = toString value;
    in
    if match "[[:alnum:],._+:@%/-]+" text == null then
      "'${replaceStrings [ "'" ] [ "'\\''" ] text}'"
    else
      text;
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  toLower = replaceStrings upper lower;
  toUpper = replaceStrings lower upper;
  upper = builtins.filter (each: each != "") (
    lists.flatten (builtins.split "" "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
  );
  lower = builtins.filter (each: each != "") (
    lists.flatten (builtins.split "" "abcdefghijklmnopqrstuvwxyz")
  );
  trim =
    text:
    let
      found = match "[ \t\r\n]*(.*[^ \t\r\n])[ \t\r\n]*" text;
    in
    if found == null then "" else builtins.head found;
  toInt =
    text:
    let
      number = builtins.fromJSON text;
    in
    if match "-?[0-9]+" text != null then number else throw "toInt: '${text}' is not an integer";
  boolToString = value: if value then "true" else "false";
  makeSearchPath =
    folder: packages:
    concatMapStringsSep ":" (package: "${package}/${folder}") (
      builtins.filter (each: each != null) packages
    );
  makeSearchPathOutput =
    output: folder: packages:
    makeSearchPath folder (map (package: package.${output} or package) packages);
  makeLibraryPath = makeSearchPathOutput "lib" "lib";
  makeBinPath = makeSearchPathOutput "bin" "bin";
  makeIncludePath = makeSearchPathOutput "dev" "include";
  cmakeOptionType =
    type: feature: value:
    "-D${feature}:${type}=${value}";
  cmakeBool = feature: value: cmakeOptionType "BOOL" feature (if value then "TRUE" else "FALSE");
  cmakeFeature = cmakeOptionType "STRING";
}
