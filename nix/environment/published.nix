# Type: { target, wheels, environment, base : [ Derivation ] } -> Derivation
# What of an environment may be passed on, as one path to copy to a cache: the environment itself if all of it may,
# else its wheels but for those that are not free, and what the rest is built with. `not-published` in it says what
# was left out and why.
{
  lib,
  runCommand,
}:
{
  target,
  wheels,
  environment,
  base,
}:
let
  isRefused = package: (package.meta.hydraPlatforms or null) == [ ];
  refused = lib.filter isRefused wheels;
  reason =
    wheel:
    "${wheel.pname} ${wheel.version}: ${
      lib.concatStringsSep ", " (map (license: license.shortName) wheel.meta.license)
    }";
  whole = refused == [ ];
in
runCommand "vllm-${target.name}-published"
  {
    passthru = { inherit refused; };
    # Not built for this: their paths are known, and none may be below what is published.
    disallowedRequisites = map (wheel: builtins.unsafeDiscardStringContext "${wheel}") refused;
    notPublished = lib.concatMapStrings (line: line + "\n") (
      map reason refused ++ lib.optional (!whole) "vllm-${target.name}: it is built from these"
    );
    passAsFile = [ "notPublished" ];
    published = lib.unique (
      map toString (
        if whole then [ environment ] else lib.filter (wheel: !isRefused wheel) wheels ++ base
      )
    );
  }
  ''
    mkdir $out
    ln -s -t $out $published
    cp $notPublishedPath $out/not-published
  ''
