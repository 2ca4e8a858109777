# NixOS: a service for each profile of a target, with no right but to its models and its devices.
#
#   services.vllm-nix = {
#     target = "cuda";
#     apiKeyFile = "/run/secrets/vllm"; # root's alone: systemd hands it to the services
#     profiles.chat.port = 9000; # or `profiles.chat = { };`, as the target has it
#   };
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (import ../lib) changeTarget targets;
  inherit (pkgs) vllmPackages;
  cfg = config.services.vllm-nix;
  target = targets.${cfg.target};

  # What goes before the target's own values, as options of `vllm-nix serve`.
  option =
    key: value:
    if builtins.isBool value then
      [ (if value then "--${key}" else "--no-${key}") ]
    else
      [
        "--${key}"
        (toString value)
      ];

  # What it may open of the host's devices.
  devices =
    if target.vllm.device == "cpu" then
      { PrivateDevices = true; }
    else
      {
        SupplementaryGroups = [
          "render"
          "video"
        ];
      }
      // lib.optionalAttrs (target.vllm.device == "cuda" && pkgs.stdenv.hostPlatform.isx86_64) {
        # By its names in /proc/devices. A Jetson's driver has devices of many other names.
        DevicePolicy = "closed";
        DeviceAllow = "char-nvidia* rw";
      };

  service =
    name: values:
    let
      # Checked as a target file is: an option that no profile has would end the service at its start.
      wanted = changeTarget (target: lib.recursiveUpdate target { serve.${name} = values; }) target;
    in
    if !(target.serve or { } ? ${name}) then
      throw "services.vllm-nix: target '${cfg.target}' has no profile '${name}'"
    else
      lib.nameValuePair "vllm-${name}" {
        description = "vLLM: ${wanted.serve.${name}.summary or name}";
        wantedBy = [ "multi-user.target" ];
        after = [ "network-online.target" ];
        wants = [ "network-online.target" ];
        environment.HOME = "/var/cache/vllm-nix"; # what torch.compile and Triton keep
        script = ''
          exec ${vllmPackages.vllm-nix}/bin/vllm-nix serve ${cfg.target} ${name} \
            --environment ${vllmPackages."vllm-${cfg.target}"} \
            --api-key-file "$CREDENTIALS_DIRECTORY/api-key" --download-dir "$STATE_DIRECTORY" \
            ${lib.escapeShellArgs (lib.concatLists (lib.mapAttrsToList option values))}
        '';
        serviceConfig = devices // {
          LoadCredential = "api-key:${toString cfg.apiKeyFile}";
          DynamicUser = true;
          User = "vllm-nix"; # one for all, so that they share their models
          StateDirectory = "vllm-nix";
          CacheDirectory = "vllm-nix";
          UMask = "0077";
          Restart = "on-failure";
          # Not MemoryDenyWriteExecute: torch.compile and Triton write code and run it.
          CapabilityBoundingSet = "";
          LockPersonality = true;
          NoNewPrivileges = true;
          PrivateUsers = true;
          ProtectClock = true;
          ProtectControlGroups = true;
          ProtectHome = true;
          ProtectHostname = true;
          ProtectKernelLogs = true;
          ProtectKernelModules = true;
          ProtectKernelTunables = true;
          ProtectProc = "invisible";
          RestrictAddressFamilies = [
            "AF_INET"
            "AF_INET6"
            "AF_NETLINK" # gloo and NCCL list the network's interfaces
            "AF_UNIX"
          ];
          RestrictNamespaces = true;
          RestrictRealtime = true;
          RestrictSUIDSGID = true;
          SystemCallArchitectures = "native";
          SystemCallErrorNumber = "EPERM";
          # Not @system-service alone: torch's processes share memory by pidfd_getfd, of @debug.
          SystemCallFilter = "~@privileged";
        };
      };
in
{
  options.services.vllm-nix = {
    target = lib.mkOption {
      type = lib.types.enum (builtins.attrNames targets);
      description = "The target whose environment serves.";
    };
    apiKeyFile = lib.mkOption {
      type = lib.types.externalPath; # everybody can read the store
      description = "The file with the key that clients send.";
    };
    profiles = lib.mkOption {
      type =
        with lib.types;
        attrsOf (
          attrsOf (oneOf [
            bool
            float
            int
            str
          ])
        );
      default = { };
      description = "The profiles to serve, each with values that go before the target's.";
    };
  };

  config.systemd.services = lib.mapAttrs' service cfg.profiles;
}
