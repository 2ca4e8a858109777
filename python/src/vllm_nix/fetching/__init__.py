"""Source files into the Nix store, by the ordinary clients, checked by hash."""
