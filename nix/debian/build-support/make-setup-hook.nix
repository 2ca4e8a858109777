# A package that is nothing but a setup hook; @name@ in it is replaced by substitutions.name.
{ runCommandLocal }:
{
  name,
  substitutions ? { },
  propagatedBuildInputs ? [ ],
}:
script:
runCommandLocal name
  (
    substitutions
    // {
      inherit script propagatedBuildInputs;
    }
  )
  ''
    mkdir -p "$out/nix-support"
    substitute "$script" "$out/nix-support/setup-hook" ${
      toString (map (key: "--subst-var ${key}") (builtins.attrNames substitutions))
    }
    if [[ -n $propagatedBuildInputs ]]; then
      echo "$propagatedBuildInputs" > "$out/nix-support/propagated-build-inputs"
    fi
  ''
