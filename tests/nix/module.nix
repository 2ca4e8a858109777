# The NixOS module, with as much of a module system as it asks for.
let
  pkgsOf =
    system:
    import ../../nix/debian {
      inherit system;
      overlays = [ (import ../../overlays) ];
    };
  pkgs = pkgsOf "x86_64-linux";
  servicesOf =
    target: pkgs: profiles:
    (import ../../nix/nixos/module.nix {
      inherit pkgs;
      lib = pkgs.lib // {
        mkOption = option: option;
        types = {
          enum = names: names;
          attrsOf = type: type;
          oneOf = types: types;
          bool = null;
          externalPath = null;
          float = null;
          int = null;
          str = null;
        };
      };
      config.services.vllm-nix = {
        inherit target profiles;
        apiKeyFile = "/run/secrets/vllm";
      };
    }).config.systemd.services;
  services = servicesOf "cpu" pkgs;
  # What a service of a target may open of the host's devices.
  devicesOf =
    target: system:
    builtins.intersectAttrs {
      DeviceAllow = null;
      DevicePolicy = null;
      PrivateDevices = null;
    } (servicesOf target (pkgsOf system) { chat = { }; }).vllm-chat.serviceConfig;
  chat =
    (services {
      chat = {
        port = 9000;
        model = "/models/it's mine";
        chunked-prefill = false;
        memory-share = 0.5;
      };
    }).vllm-chat;
  has = part: text: builtins.length (builtins.split part text) > 1;
in
{
  "a service for each profile" = {
    expr = builtins.attrNames (services {
      chat = { };
      embedding = { };
    });
    expected = [
      "vllm-chat"
      "vllm-embedding"
    ];
  };
  "none without profiles" = {
    expr = services { };
    expected = { };
  };
  "values are options, quoted" = {
    expr = has "--no-chunked-prefill.* --memory-share.* 0.5.* --model.* '/models/it'.*''s mine'.* --port.* 9000" chat.script;
    expected = true;
  };
  "the environment is the target's" = {
    expr = has "--environment ${builtins.unsafeDiscardStringContext pkgs.vllmPackages.vllm-cpu}" chat.script;
    expected = true;
  };
  "the key comes by systemd, and is in no command" = {
    expr = [
      chat.serviceConfig.LoadCredential
      (has "/run/secrets" chat.script)
    ];
    expected = [
      "api-key:/run/secrets/vllm"
      false
    ];
  };
  "a service sees its own device alone, where its names are known" = {
    expr = [
      (devicesOf "cpu" "x86_64-linux")
      (devicesOf "cuda" "x86_64-linux")
      (devicesOf "jetson_7" "aarch64-linux")
    ];
    expected = [
      { PrivateDevices = true; }
      {
        DeviceAllow = "char-nvidia* rw";
        DevicePolicy = "closed";
      }
      { }
    ];
  };
  "an unknown value is refused" = {
    expr = (builtins.tryEval (services { chat.prot = 9000; }).vllm-chat.description).success;
    expected = false;
  };
  "an unknown profile is refused" = {
    expr =
      (builtins.tryEval (services {
        hat = { };
      })).success;
    expected = false;
  };
}
