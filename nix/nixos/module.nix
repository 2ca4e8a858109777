# What belongs in this folder: the NixOS module. Services that run vLLM, each a serve profile of a target.
#
#   services.vllm.chat = {
#     enable = true;
#     target = "cuda";
#     apiKeyFile = "/run/secrets/vllm"; # root's alone: systemd hands it to the service
#     settings.port = 9000; # what goes before the profile's own values
#   };
#
# instance.nix has the options of one, unit.nix what systemd runs of it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (builtins) attrNames attrValues concatMap;
  instances = lib.mapAttrs (import ./resolve.nix { inherit lib; }) (
    lib.filterAttrs (_: instance: instance.enable) config.services.vllm
  );
  unit = import ./unit.nix { inherit lib pkgs; };
  option = name: "services.vllm.${name}";

  # Each two that cannot both listen, once.
  isEverywhere = host: host == "0.0.0.0" || host == "::";
  overlap =
    one: other:
    one.port == other.port
    && (one.host == other.host || isEverywhere one.host || isEverywhere other.host);
  clashesOf =
    name: instance:
    let
      isClash = other: name < other && overlap instance.values instances.${other}.values;
    in
    map (other: {
      inherit name other;
      inherit (instance.values) host port;
    }) (lib.filter isClash (attrNames instances));
  clashes = lib.concatLists (lib.mapAttrsToList clashesOf instances);
  isLocal = host: host == "localhost" || host == "::1" || lib.hasPrefix "127." host;
in
{
  options.services.vllm = lib.mkOption {
    type = lib.types.attrsOf (lib.types.submodule (import ./instance.nix { inherit lib pkgs; }));
    default = { };
    example = lib.literalExpression ''
      {
        chat = {
          enable = true;
          target = "cuda";
          apiKeyFile = "/run/secrets/vllm";
          openFirewall = true;
          settings.host = "0.0.0.0";
        };
        embedding = {
          enable = true;
          target = "cuda";
          apiKeyFile = "/run/secrets/vllm";
        };
      }
    '';
    description = "vLLM servers by name. Each is the systemd service `vllm-<name>`.";
  };

  config = {
    assertions =
      concatMap (instance: [
        {
          assertion = builtins.match "[A-Za-z0-9_.-]+" instance.name != null;
          message = "services.vllm: '${instance.name}' cannot be part of a unit's name: letters, digits, and _ . - can.";
        }
        {
          assertion = instance.parameters.name == instance.target;
          message = "${option instance.name}.package is of target '${instance.parameters.name}', not '${instance.target}'; set ${option instance.name}.target.";
        }
        {
          assertion = instance.isKnown;
          message = "${option instance.name}.package has other words for vLLM in its profile '${instance.profile}'; give them as ${option instance.name}.extraArgs.";
        }
        {
          assertion = instance.strangers == [ ];
          message = "${option instance.name}.settings: '${lib.concatStringsSep "', '" instance.strangers}' is neither the name of a model, owner/model, nor a folder's path from /.";
        }
        {
          assertion = (instance.nodes > 1) == (instance.rank != null && instance.head != null);
          message = "${option instance.name}: rank and head go with settings.nodes, ${toString instance.nodes} here; each of several hosts has both.";
        }
        {
          assertion = instance.rank != null -> instance.rank < instance.nodes;
          message = "${option instance.name}.rank is ${toString instance.rank}; of ${toString instance.nodes} hosts the last is ${toString (instance.nodes - 1)}.";
        }
        {
          assertion = instance.openFirewall -> !isLocal instance.values.host;
          message = "${option instance.name}.openFirewall: it listens on ${instance.values.host} alone; set ${option instance.name}.settings.host.";
        }
      ]) (attrValues instances)
      ++ map (clash: {
        assertion = false;
        message = "services.vllm: ${clash.name} and ${clash.other} both listen on port ${toString clash.port} of ${clash.host}; set ${option clash.other}.settings.port.";
      }) clashes;

    networking.firewall.allowedTCPPorts = map (instance: instance.values.port) (
      lib.filter (instance: instance.openFirewall) (attrValues instances)
    );

    systemd.services = lib.mapAttrs' (
      name: instance: lib.nameValuePair "vllm-${name}" (unit instance)
    ) instances;
  };
}
