# Type: AttrSet -> AttrSet
# What systemd runs of a server (resolve.nix): the download of its models, then vLLM, in one unit. A unit
# of its own for the download would hold up the boot, or `nixos-rebuild switch`, for as long as it takes.
{ lib, pkgs }:
instance:
let
  inherit (instance) package target values;
  inherit (instance.parameters.vllm) device;
  vllm-nix = "${pkgs.vllmPackages.vllm-nix}/bin/vllm-nix";

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
  options = lib.concatLists (
    lib.mapAttrsToList option (
      instance.given // lib.optionalAttrs isOfSeveral { inherit (instance) head rank; }
    )
  );
  # Hosts that find one another different end, until the last of them is changed as well.
  isOfSeveral = instance.nodes > 1;

  # What it may open of the host's devices.
  devices =
    if device == "cpu" then
      { PrivateDevices = true; }
    else
      {
        SupplementaryGroups = [
          "render"
          "video"
        ];
      }
      // lib.optionalAttrs (device == "cuda" && pkgs.stdenv.hostPlatform.isx86_64) {
        # By its names in /proc/devices. A Jetson's driver has devices of many other names.
        DevicePolicy = "closed";
        DeviceAllow = "char-nvidia* rw";
      };
in
{
  description = "vLLM: ${values.summary or instance.name}";
  wantedBy = [ "multi-user.target" ];
  after = [ "network-online.target" ];
  wants = [ "network-online.target" ];
  environment = values.env or { } // {
    HOME = "/var/cache/vllm-nix"; # what torch.compile and Triton keep
  };
  # A server that ends five times in an hour stays down. One that waits for its models does not end.
  startLimitBurst = 5;
  startLimitIntervalSec = if isOfSeveral then 0 else 3600;
  script =
    lib.optionalString (instance.huggingFaceTokenFile != null) ''
      HF_TOKEN=$(<"$CREDENTIALS_DIRECTORY/hugging-face")
      export HF_TOKEN
    ''
    + ''
      download() {
        local pause=10
        until ${vllm-nix} model ${target} "$1" --environment ${package} --download-dir "$STATE_DIRECTORY"; do
          case $? in
            2 | 3) exit 2 ;; # a wrong name, or no client: it will not get better
          esac
          echo "again in $pause seconds" >&2
          sleep "$pause"
          pause=$((pause < 300 ? pause * 2 : 600))
        done
      }
    ''
    + lib.concatMapStrings (model: ''
      download ${lib.escapeShellArg model}
    '') instance.models
    + ''
      exec ${vllm-nix} serve ${target} ${lib.escapeShellArg instance.profile} \
        --environment ${package} \
        --api-key-file "$CREDENTIALS_DIRECTORY/api-key" --download-dir "$STATE_DIRECTORY" \
        ${lib.escapeShellArgs (options ++ [ "--" ] ++ instance.extraArgs)}
    '';
  serviceConfig =
    devices
    // lib.optionalAttrs (!isOfSeveral) {
      # A wrong argument, key or file stays wrong.
      RestartPreventExitStatus = 2;
    }
    // lib.optionalAttrs (instance.environmentFile != null) {
      EnvironmentFile = toString instance.environmentFile;
    }
    // {
      LoadCredential = [
        "api-key:${toString instance.apiKeyFile}"
      ]
      ++ lib.optional (
        instance.huggingFaceTokenFile != null
      ) "hugging-face:${toString instance.huggingFaceTokenFile}";
      DynamicUser = true;
      User = "vllm-nix"; # one for all, so that they share their models
      StateDirectory = "vllm-nix";
      CacheDirectory = "vllm-nix";
      UMask = "0077";
      # Not on-failure: a vLLM whose engine has died says so, and ends with 0.
      Restart = "always";
      RestartSec = 10;
      RestartSteps = 4;
      RestartMaxDelaySec = 300;
      # When it is stopped, vLLM ends what it is at, and then waits for those clients without a limit.
      TimeoutStopSec = 20;
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
      # Not @system-service alone: torch's processes share memory by pidfd_getfd, of @debug, and bind
      # themselves to processors, which is of @resources.
      SystemCallFilter = "~@privileged @cpu-emulation @mount @obsolete";
    };
}
