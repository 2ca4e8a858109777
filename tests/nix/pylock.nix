# Reading a lock.
let
  pylock = import ../../nix/lib/pylock.nix;
  lock =
    wheels:
    builtins.toFile "pylock.toml" ''
      lock-version = "1.0"
      created-by = "test"
      [[packages]]
      name = "a"
      version = "1.0"
      ${wheels}
    '';
  wheel = ''
    [[packages.wheels]]
    path = "a-1.0-py3-none-any.whl"
    hashes = { sha256 = "00" }
  '';
in
{
  "a wheel of a package" = {
    expr = (pylock (lock wheel)).wheels;
    expected = [
      {
        name = "a";
        version = "1.0";
        file = "a-1.0-py3-none-any.whl";
        sha256 = "00";
      }
    ];
  };
  "no wheel is an error" = {
    expr = (builtins.tryEval (builtins.deepSeq (pylock (lock "")) true)).success;
    expected = false;
  };
  "two wheels are an error" = {
    expr = (builtins.tryEval (builtins.deepSeq (pylock (lock (wheel + wheel))) true)).success;
    expected = false;
  };
}
