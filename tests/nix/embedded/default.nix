# The embedded base with the overlay, for the tests beside this folder: a file imported again is not evaluated again.
import ../../../nix/debian {
  system = "x86_64-linux";
  overlays = [ (import ../../../overlays) ];
}
