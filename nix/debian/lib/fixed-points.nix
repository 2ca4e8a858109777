# Sets that refer to their own result, and layers over them.
rec {
  fix =
    f:
    let
      x = f x;
    in
    x;
  extends =
    overlay: f: final:
    let
      previous = f final;
    in
    previous // overlay final previous;
  composeExtensions =
    first: second: final: previous:
    let
      one = first final previous;
    in
    one // second final (previous // one);
  composeManyExtensions = builtins.foldl' composeExtensions (_: _: { });
  toExtension =
    value:
    if builtins.isFunction value then
      final: previous:
      let
        given = value final;
      in
      if builtins.isFunction given then given previous else value previous
    else
      _: _: value;
}
