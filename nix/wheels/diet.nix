# Type: target -> String -> [ { paths, reason } ]
# What a wheel of this name is unpacked without, unless the target says `wheels.diet = false`: the rows of
# diet.toml. A wheel without a row is as it is for everybody.
let
  inherit (builtins)
    all
    compareVersions
    filter
    fromTOML
    readFile
    ;
  rows = fromTOML (readFile ./diet.toml);
in
target: name:
let
  isOlder = below: capability: compareVersions capability below < 0;
  isFor =
    row:
    !(row ? capabilities-below)
    || all (isOlder row.capabilities-below) (target.cuda.capabilities or [ ]);
in
if target.wheels.diet or true then filter isFor (rows.${name} or [ ]) else [ ]
