# A machine with the module nix/nixos, as NixOS evaluates it; NixOS's own options are declared as far as
# the module sets them. Returns the `config`, after its assertions.
let
  real = builtins.getEnv "VLLM_NIX_NIXPKGS_LIB";
  pkgsOf =
    system:
    import ../../../nix/debian {
      inherit system;
      overlays = [ (import ../../../overlays) ];
    };
  lib =
    if real != "" then
      import (/. + real)
    else
      let
        inherit (pkgsOf "x86_64-linux") lib;
      in
      lib // import ./module-system.nix (lib // import ./module-system.nix lib);
  inherit (lib) mkOption types;

  ofNixos.options = {
    assertions = mkOption {
      type = types.listOf types.anything;
      default = [ ];
    };
    networking.firewall.allowedTCPPorts = mkOption {
      type = types.listOf types.port;
      default = [ ];
    };
    systemd.services = mkOption {
      type = types.attrsOf (types.submodule { options = unit; });
      default = { };
    };
  };
  # As nixos/lib/systemd-unit-options.nix has them.
  unit = {
    after = list;
    description = value types.str;
    environment = value (types.attrsOf types.str);
    script = value types.str;
    serviceConfig = value (types.attrsOf types.anything);
    startLimitBurst = value types.ints.unsigned;
    startLimitIntervalSec = value types.ints.unsigned;
    wantedBy = list;
    wants = list;
  };
  list = value (types.listOf types.str);
  value = type: mkOption { inherit type; };
in
{
  inherit lib pkgsOf;

  # Type: String -> [ module ] -> { config, options }
  machine =
    system: modules:
    let
      evaluated = lib.evalModules {
        modules = [
          ofNixos
          ../../../nix/nixos/module.nix
        ]
        ++ modules;
        specialArgs = {
          inherit lib;
          pkgs = pkgsOf system;
        };
      };
      failed = builtins.filter (one: !one.assertion) evaluated.config.assertions;
    in
    evaluated
    // {
      config =
        if failed == [ ] then
          evaluated.config
        else
          throw "Failed assertions: ${lib.concatMapStringsSep " " (one: one.message) failed}";
    };
}
