# Functions whose arguments come from a package set, and can be changed afterwards.
{ missing }:
rec {
  # override replaces arguments of the function; overrideAttrs keeps that ability.
  makeOverridable =
    f: arguments:
    let
      result = f arguments;
      again = new: arguments // (if builtins.isFunction new then new arguments else new);
      overridable.override = mirror f (new: makeOverridable f (again new));
      mapped = g: makeOverridable (mirror f (each: g (f each))) arguments;
    in
    if builtins.isAttrs result then
      result
      // overridable
      // (
        if result ? overrideAttrs then
          { overrideAttrs = change: mapped (package: package.overrideAttrs change); }
        else
          { }
      )
    else if builtins.isFunction result then
      overridable
      // {
        __functor = _: result;
        __functionArgs = functionArgs result;
      }
    else
      result;

  # A function with the named arguments of another.
  mirror = f: g: {
    __functor = _: g;
    __functionArgs = functionArgs f;
  };

  functionArgs =
    f:
    if builtins.isAttrs f then
      f.__functionArgs or (functionArgs (f.__functor f))
    else
      builtins.functionArgs f;

  isFunction = f: builtins.isFunction f || (builtins.isAttrs f && f ? __functor);

  callPackageWith =
    packages: file: arguments:
    let
      f = if isFunction file then file else import file;
      wanted = functionArgs f;
      present = builtins.intersectAttrs wanted packages;
      absent = builtins.filter (name: !(present ? ${name} || arguments ? ${name} || wanted.${name})) (
        builtins.attrNames wanted
      );
      thrown = builtins.listToAttrs (
        map (name: {
          inherit name;
          value = missing name;
        }) absent
      );
    in
    makeOverridable f (thrown // present // arguments);

  callPackagesWith =
    packages: file: arguments:
    let
      f = if isFunction file then file else import file;
    in
    f (builtins.intersectAttrs (functionArgs f) packages // arguments);

  # A set of packages that see one another; overrideScope layers over all of them.
  makeScope =
    newScope: f:
    let
      self = f self // {
        newScope = scope: newScope (self // scope);
        callPackage = self.newScope { };
        overrideScope =
          overlay:
          makeScope newScope (
            final:
            let
              previous = f final;
            in
            previous // overlay final previous
          );
        packages = f;
      };
    in
    self;
}
