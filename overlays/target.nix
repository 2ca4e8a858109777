# Type: String -> overlay
# The default overlay, where `vllmPackages` itself is one target's scope: `vllmPackages.torch` is its torch.
name: final: prev:
let
  # What earlier overlays made of it stays, but for another target's scope.
  isDefault = prev ? vllmPackages && !(prev.vllmPackages ? target);
in
{
  vllmPackages = (if isDefault then prev else import ./. final prev).vllmPackages.${name};
}
