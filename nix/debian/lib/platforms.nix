rec {
  linux = x86_64 ++ aarch64;
  x86_64 = [ "x86_64-linux" ];
  aarch64 = [ "aarch64-linux" ];
  x86_64-linux = x86_64;
  aarch64-linux = aarch64;
  all = linux;
  unix = linux;
}
