# The repository, without what is hidden or was built: for tests that read all of it, documents and their links.
builtins.path {
  path = ../..;
  name = "vllm-nix-repository";
  filter = path: _: builtins.match "[.].*|result.*|__pycache__" (baseNameOf path) == null;
}
