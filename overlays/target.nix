# Type: String -> overlay
# The default overlay, where `vllmPackages` itself is one target's scope: `vllmPackages.torch` is its torch.
name: final: prev: {
  vllmPackages = (import ./. final prev).vllmPackages.${name};
}
