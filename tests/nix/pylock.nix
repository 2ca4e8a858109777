# Reading a lock.
let
  pylock = import ../../nix/lib/pylock.nix;
in
{
  "a wheel of a package" = {
    expr = (pylock ./locks/one.toml).wheels;
    expected = [
      {
        name = "a";
        version = "1.0";
        file = "a-1.0-py3-none-any.whl";
        size = null;
        sha256 = "00";
      }
    ];
  };
  "no wheel is an error" = {
    expr = (builtins.tryEval (builtins.deepSeq (pylock ./locks/none.toml) true)).success;
    expected = false;
  };
  "two wheels are an error" = {
    expr = (builtins.tryEval (builtins.deepSeq (pylock ./locks/two.toml) true)).success;
    expected = false;
  };
}
