# The sentence for what this base does not have.
name: throw "nix/debian has no ${name}; use nixpkgs, or add it to nix/debian/packages.toml"
