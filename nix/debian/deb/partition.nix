# Which Debian packages each group holds, and which earlier groups it builds on.
# A package belongs to the first group whose roots reach it, so no two store paths hold it twice.
{
  groups,
  packages,
}:
let
  closure =
    roots:
    map (node: node.key) (
      builtins.genericClosure {
        startSet = map (key: { inherit key; }) roots;
        operator = node: map (key: { inherit key; }) (known node.key).depends;
      }
    );

  known =
    name:
    packages.${name}
      or (throw "packages.toml names ${name}, which the lock does not hold; run nix/debian/refresh");

  place =
    done: group:
    let
      reached = closure group.roots;
      isNew = name: !(done.owner ? ${name});
      holds = builtins.filter isNew reached;
      owners = map (name: done.owner.${name}) (builtins.filter (name: !(isNew name)) reached);
      needed = builtins.listToAttrs (
        map (name: {
          inherit name;
          value = null;
        }) owners
      );
    in
    {
      owner =
        done.owner
        // builtins.listToAttrs (
          map (name: {
            inherit name;
            value = group.name;
          }) holds
        );
      groups = done.groups // {
        ${group.name} = group // {
          packages = builtins.sort builtins.lessThan holds;
          buildsOn = builtins.attrNames needed ++ group.uses or [ ];
        };
      };
    };
in
(builtins.foldl' place {
  owner = { };
  groups = { };
} groups).groups
