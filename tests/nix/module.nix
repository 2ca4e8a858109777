# The NixOS module, under nixpkgs' module system where VLLM_NIX_NIXPKGS_LIB names its lib, or as much of
# it as the module asks for. test_module.py has what is refused, and systemd's own opinion of the units.
let
  inherit (import ./nixos/evaluate.nix) lib machine pkgsOf;
  pkgs = pkgsOf "x86_64-linux";
  apiKeyFile = "/run/secrets/vllm";
  cpu = {
    enable = true;
    target = "cpu";
    inherit apiKeyFile;
  };
  configOf = services: (machine "x86_64-linux" [ { services.vllm = services; } ]).config;
  servicesOf = services: (configOf services).systemd.services;
  chatOf = options: (servicesOf { chat = cpu // options; }).vllm-chat;
  chat = chatOf {
    settings = {
      port = 9000;
      model = "/models/it's mine";
      chunked-prefill = false;
      memory-share = 0.5;
    };
    extraArgs = [ "--served-by=it's me" ];
  };
  # What a service of a target may open of the host's devices.
  devicesOf =
    target: system:
    builtins.intersectAttrs
      {
        DeviceAllow = null;
        DevicePolicy = null;
        PrivateDevices = null;
        SupplementaryGroups = null;
      }
      (machine system [
        {
          services.vllm.chat = {
            enable = true;
            inherit apiKeyFile target;
          };
        }
      ]).config.systemd.services.vllm-chat.serviceConfig;
  has = part: text: builtins.length (builtins.split part text) > 1;
  isRefused = services: !(builtins.tryEval (builtins.deepSeq (servicesOf services) null)).success;
  # `package` as users override it: other capabilities, other profiles.
  overridden =
    change:
    (pkgs.vllmPackages.cpu.overrideTarget (target: lib.recursiveUpdate target { serve.chat = change; }))
    .vllm-cpu;
in
{
  "a service for each that is enabled" = {
    expr = builtins.attrNames (servicesOf {
      chat = cpu;
      embedding = cpu;
      reranker = cpu // {
        enable = false;
      };
    });
    expected = [
      "vllm-chat"
      "vllm-embedding"
    ];
  };
  "none without any" = {
    expr = servicesOf { };
    expected = { };
  };
  "settings are options, extraArgs are vLLM's, both quoted" = {
    expr =
      has
        "serve cpu chat .* --no-chunked-prefill --memory-share 0.5[0-9]* --model '/models/it'.*''s mine' --port 9000 -- '--served-by=it'.*''s me'"
        (builtins.replaceStrings [ "\\\n" ] [ " " ] chat.script);
    expected = true;
  };
  "what the profile says already is not said again" = {
    expr = has "--(host|port|model|summary|task)" (chatOf { }).script;
    expected = false;
  };
  "the profile may have another name than the service" = {
    expr = has "serve cpu reranker" (chatOf { profile = "reranker"; }).script;
    expected = true;
  };
  "the environment is the target's" = {
    expr = has "--environment ${builtins.unsafeDiscardStringContext pkgs.vllmPackages.vllm-cpu}" chat.script;
    expected = true;
  };
  "or the package's, whose own profile is served" = {
    expr =
      let
        package = overridden { port = 9100; };
        service = chatOf { inherit package; };
      in
      [
        (has "--environment ${builtins.unsafeDiscardStringContext package} " service.script)
        (has "--port 9100" service.script)
      ];
    expected = [
      true
      true
    ];
  };
  "a model of a hub is downloaded, a folder is not" = {
    expr = [
      (has "download HuggingFaceTB/SmolLM2-135M-Instruct\n" (chatOf { }).script)
      (has "\ndownload " chat.script)
    ];
    expected = [
      true
      false
    ];
  };
  "the draft model as well" = {
    expr =
      has "download Qwen/Qwen2.5-1.5B-Instruct\ndownload Qwen/Qwen2.5-0.5B-Instruct\n"
        (chatOf {
          profile = "speculative";
        }).script;
    expected = true;
  };
  "secrets come by systemd, and are in no command" = {
    expr =
      let
        service = chatOf {
          huggingFaceTokenFile = "/run/secrets/hugging-face";
          environmentFile = "/run/secrets/vllm.env";
        };
      in
      [
        service.serviceConfig.LoadCredential
        service.serviceConfig.EnvironmentFile
        (has "/run/secrets" (service.script + builtins.toJSON service.environment))
        chat.serviceConfig.LoadCredential
      ];
    expected = [
      [
        "api-key:/run/secrets/vllm"
        "hugging-face:/run/secrets/hugging-face"
      ]
      "/run/secrets/vllm.env"
      false
      [ "api-key:/run/secrets/vllm" ]
    ];
  };
  "the firewall opens the ports that are asked for" = {
    expr =
      (configOf {
        chat = cpu // {
          openFirewall = true;
          settings.host = "0.0.0.0";
        };
        embedding = cpu;
      }).networking.firewall.allowedTCPPorts;
    expected = [ 8000 ];
  };
  "a service sees its own device alone, where its names are known" = {
    expr = [
      (devicesOf "cpu" "x86_64-linux")
      (devicesOf "cuda" "x86_64-linux")
      (devicesOf "jetson_7" "aarch64-linux")
    ];
    expected =
      let
        SupplementaryGroups = [
          "render"
          "video"
        ];
      in
      [
        { PrivateDevices = true; }
        {
          DeviceAllow = "char-nvidia* rw";
          DevicePolicy = "closed";
          inherit SupplementaryGroups;
        }
        { inherit SupplementaryGroups; }
      ];
  };
  "one port serves on two addresses" = {
    expr = isRefused {
      chat = cpu // {
        settings.host = "192.0.2.1";
      };
      other = cpu // {
        profile = "chat";
        settings.host = "192.0.2.2";
      };
    };
    expected = false;
  };
  "an option that is set twice alike is one" = {
    expr =
      builtins.attrNames
        (machine "x86_64-linux" [
          { services.vllm.chat = cpu; }
          { services.vllm.chat.target = "cpu"; }
        ]).config.systemd.services;
    expected = [ "vllm-chat" ];
  };
}
