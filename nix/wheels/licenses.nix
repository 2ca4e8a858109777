# What ./licenses.toml says, as nixpkgs' `meta` has it.
let
  data = builtins.fromTOML (builtins.readFile ./licenses.toml);
  license = shortName: {
    inherit shortName;
    inherit (data.${shortName}) redistributable url;
    fullName = data.${shortName}.name;
    free = false;
    deprecated = false;
  };
  names = builtins.attrNames data;
  isFree = license: license.free or true;
  # The same licence may come from nixpkgs and from here.
  unique = builtins.foldl' (
    known: each:
    if builtins.any (other: other.shortName or null == each.shortName or "") known then
      known
    else
      known ++ [ each ]
  ) [ ];
in
rec {
  # Type: [ License ]
  unfree = map license names;

  # Type: String -> [ License ]
  # The licences of a distribution that are not free.
  ofDistribution =
    distribution:
    map license (builtins.filter (name: builtins.elem distribution data.${name}.distributions) names);

  # Type: [ Derivation ] -> [ License ]
  # Those of some packages together.
  ofPackages =
    packages:
    unique (
      builtins.filter (each: !isFree each) (
        builtins.concatMap (
          package:
          let
            found = package.meta.license or [ ];
          in
          if builtins.isList found then found else [ found ]
        ) packages
      )
    );

  # Type: [ License ] -> AttrSet
  # `meta` of what has these: no Hydra publishes what is not free.
  meta =
    licenses:
    (if licenses == [ ] then { } else { license = licenses; })
    // (if builtins.all isFree licenses then { } else { hydraPlatforms = [ ]; });
}
