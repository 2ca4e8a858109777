# Type: [ String ] -> String
# nvcc's flags for code of these compute capabilities and nothing else, no PTX either.
capabilities:
builtins.concatStringsSep " " (
  map (
    capability:
    let
      number = builtins.replaceStrings [ "." ] [ "" ] capability;
    in
    "-gencode=arch=compute_${number},code=sm_${number}"
  ) capabilities
)
