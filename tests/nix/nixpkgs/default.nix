# What ../flake.nix takes for nixpkgs: gives back what it was asked for.
arguments: { nixfmt-tree = arguments.config; }
