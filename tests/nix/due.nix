# Which replacements a version needs.
let
  due = import ../../nix/wheels/patch/due.nix { lib = import ../../nix/debian/lib; };
  names = version: replacements: map (each: each.file) (due version replacements);
in
{
  "those from a version on, and before another" = {
    expr = names "0.7.3" [
      {
        from = "0.7.3";
        file = "from";
      }
      {
        from = "0.7.4";
        file = "later";
      }
      {
        before = "0.7.3";
        file = "before";
      }
      { file = "always"; }
    ];
    expected = [
      "from"
      "always"
    ];
  };
  "those of no version, for a commit as well" = {
    expr = names "dc9d410b" [ { file = "always"; } ];
    expected = [ "always" ];
  };
}
