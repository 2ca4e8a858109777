# Type: target -> String -> [ { paths, reason } ]
# What a wheel of this name is unpacked without, unless the target says `wheels.diet = false`: the rows of
# diet.toml. A wheel without a row is as it is for everybody. What other devices run goes only where the wheels are for
# the target's alone, on a Jetson or slim: `cuda` is for whoever has a GPU.
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
  isForItsDevicesAlone = target ? jetpack || target.wheels ? slim;
  isOlder = below: capability: compareVersions capability below < 0;
  isFor =
    row:
    !(row ? capabilities-below)
    || isForItsDevicesAlone && all (isOlder row.capabilities-below) (target.cuda.capabilities or [ ]);
in
if target.wheels.diet or true then filter isFor (rows.${name} or [ ]) else [ ]
