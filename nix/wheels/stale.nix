# Type: { target, lock : String, wheels : [ { name, version } ] } -> [ String ]
# What a lock has otherwise than its target asks for, a sentence each: it was written before the target was
# changed. vllm_nix.locks.stale says the same, and reads more than `==`.
{ lib }:
{
  target,
  lock,
  wheels,
}:
let
  inherit (builtins) match;
  nameOf =
    requirement:
    lib.replaceStrings [ "_" "." ] [ "-" "-" ] (
      lib.toLower (lib.head (match "([A-Za-z0-9._-]+).*" requirement))
    );
  # The release of a requirement such as "torch==2.5.1", or null: nothing else is compared here.
  releaseOf =
    requirement:
    let
      found = match "[^=<>~!;]*== *([0-9][^*,; ]*) *" requirement;
    in
    if found == null then null else lib.head found;
  # "2.0" is "2", and "2.5.1+cpu" is a "2.5.1" (PEP 440).
  short = version: lib.removeSuffix ".0" (lib.removeSuffix ".0" version);
  public = version: lib.head (lib.splitString "+" version);
  isRelease =
    wanted: version:
    short wanted == short (if lib.hasInfix "+" wanted then version else public version);

  locked = lib.listToAttrs (map ({ name, version, ... }: lib.nameValuePair name version) wheels);
  isLocked = name: locked ? ${name};
  override = target.wheels.override or [ ];
  unwanted = target.components ++ map nameOf target.wheels.exclude or [ ];
  settled = unwanted ++ map nameOf override;
  asked =
    lib.filter (requirement: !lib.elem (nameOf requirement) settled) target.requirements
    ++ lib.filter (requirement: isLocked (nameOf requirement)) override;
  isMet =
    requirement:
    let
      release = releaseOf requirement;
      version = locked.${nameOf requirement};
    in
    # What a marker says is the resolver's to know.
    lib.hasInfix ";" requirement
    || isLocked (nameOf requirement) && (release == null || isRelease release version);
  sentence =
    name: clause:
    "${lock} has ${
      if isLocked name then "${name} ${locked.${name}}" else "no ${name}"
    }, ${clause}; run: vllm-nix lock ${target.name}";
in
map (name: sentence name "which ${target.name} makes itself or leaves out") (
  lib.filter isLocked unwanted
)
++ map (requirement: sentence (nameOf requirement) "and ${target.name} asks for ${requirement}") (
  lib.filter (requirement: !isMet requirement) asked
)
