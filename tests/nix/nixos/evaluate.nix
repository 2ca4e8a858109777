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
    # As nixos/lib/systemd-unit-options.nix has them.
    systemd.services = mkOption {
      type = types.attrsOf (
        types.submodule {
          options =
            lib.genAttrs
              [
                "after"
                "wantedBy"
                "wants"
              ]
              (
                _:
                mkOption {
                  type = types.listOf types.str;
                  default = [ ];
                }
              )
            //
              builtins.mapAttrs
                (
                  _: type:
                  mkOption {
                    inherit type;
                  }
                )
                {
                  description = types.str;
                  environment = types.attrsOf types.str;
                  script = types.str;
                  serviceConfig = types.attrsOf types.anything;
                  startLimitBurst = types.ints.unsigned;
                  startLimitIntervalSec = types.ints.unsigned;
                };
        }
      );
      default = { };
    };
  };
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
