# { system, tree ? null } -> the scope of vllm-jetson on nix/debian, or on a tree with nixpkgs' shape.
{
  system,
  tree ? null,
}:
(import ./packages.nix { inherit system tree; }).vllmPackages.jetson
