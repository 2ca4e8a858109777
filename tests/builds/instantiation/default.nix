# { system, target, tree ? null } -> a target's scope on nix/debian, or on a tree with nixpkgs' shape.
{
  system,
  target,
  tree ? null,
}:
(import ./packages.nix { inherit system tree; }).vllmPackages.${target}
