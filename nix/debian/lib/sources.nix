# Source folders without what is not source.
{ strings }:
rec {
  cleanSourceFilter =
    path: type:
    let
      name = baseNameOf path;
    in
    !(
      builtins.elem name [
        ".git"
        ".direnv"
        "__pycache__"
        ".mypy_cache"
        ".ruff_cache"
        ".pytest_cache"
      ]
      || strings.hasSuffix "~" name
      || (type == "symlink" && strings.hasPrefix "result" name)
      || type == "unknown"
    );
  cleanSource =
    src:
    cleanSourceWith {
      inherit src;
      filter = cleanSourceFilter;
    };
  cleanSourceWith =
    {
      src,
      filter ? (_: _: true),
      name ? "source",
    }:
    builtins.path {
      inherit filter name;
      path = src;
    };
}
