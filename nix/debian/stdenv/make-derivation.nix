# stdenv.mkDerivation: attributes, or a function of the final attributes, to a derivation whose
# builder is setup.sh.
{
  lib,
  system,
  config,
  shell,
  setup,
}:
let
  # Not for the builder.
  unseen = [
    "meta"
    "passthru"
    "env"
    "pos"
  ];

  checkMeta =
    name: meta: package:
    if (meta.broken or false) && !(config.allowBroken or false) then
      throw "${name} is marked as broken; set config.allowBroken to build it all the same"
    else
      package;

  derive =
    attributes:
    let
      name = attributes.name or "${attributes.pname}-${attributes.version}";
      meta = {
        platforms = lib.platforms.linux;
        available = !(attributes.meta.broken or false);
      }
      // attributes.meta or { }
      // {
        inherit name;
      };
      clash = builtins.intersectAttrs (attributes.env or { }) (removeAttrs attributes unseen);
      given = removeAttrs attributes unseen // attributes.env or { };
      list = key: lib.filter (each: each != null) (lib.flatten (given.${key} or [ ]));
      drv = derivation (
        lib.filterAttrs (_: value: value != null) given
        // {
          inherit name system;
          outputs = attributes.outputs or [ "out" ];
          builder = attributes.realBuilder or shell;
          args =
            attributes.args or [
              "-e"
              ./builder.sh
            ];
          stdenv = setup;
          nativeBuildInputs = map (lib.getOutput "dev") (
            list "nativeBuildInputs" ++ list "nativeCheckInputs"
          );
          buildInputs = lib.concatMap withLib (list "buildInputs" ++ list "checkInputs");
          propagatedNativeBuildInputs = map lib.getDev (list "propagatedNativeBuildInputs");
          propagatedBuildInputs = lib.concatMap withLib (list "propagatedBuildInputs");
        }
      );
      extras = {
        inherit meta;
        passthru = attributes.passthru or { };
      }
      // attributes.passthru or { };
      outputsOf = builtins.listToAttrs (
        map (output: {
          name = output;
          value = drv.${output} // extras // outputsOf;
        }) drv.outputs
      );
    in
    assert lib.assertMsg (
      clash == { }
    ) "${name}: ${lib.concatStringsSep ", " (lib.attrNames clash)} given both in env and beside it";
    checkMeta name meta (
      drv
      // lib.optionalAttrs (attributes ? pname) { inherit (attributes) pname; }
      // lib.optionalAttrs (attributes ? version) { inherit (attributes) version; }
      // extras
      // outputsOf
    );

  # A library's headers and its shared objects, when they are separate outputs.
  withLib =
    package:
    lib.unique [
      (lib.getDev package)
      (lib.getLib package)
    ];

  make =
    f:
    let
      attributes = f (attributes // { finalPackage = package; });
      package = derive attributes // {
        overrideAttrs =
          change:
          make (
            final:
            let
              previous = f final;
            in
            previous // lib.toExtension change final previous
          );
      };
    in
    package;
in
arguments: make (if lib.isFunction arguments then arguments else _: arguments)
