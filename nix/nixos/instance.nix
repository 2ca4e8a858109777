# The options of one server.
{ lib, pkgs }:
{ config, name, ... }:
let
  inherit (lib) literalExpression mkOption types;
  inherit (import ../lib) targets;
  # Everybody can read the store, so that no secret may lie there.
  secret =
    attributes:
    mkOption (
      {
        type = types.nullOr types.externalPath;
        default = null;
      }
      // attributes
    );
in
{
  options = {
    enable = lib.mkEnableOption "this vLLM server";

    target = mkOption {
      type = types.enum (builtins.attrNames targets);
      example = "cuda";
      description = "The target whose environment serves; `vllm-nix targets --all` lists them.";
    };

    package = mkOption {
      type = types.package;
      default = pkgs.vllmPackages."vllm-${config.target}";
      defaultText = literalExpression ''pkgs.vllmPackages."vllm-''${target}"'';
      example = literalExpression ''
        (pkgs.vllmPackages.cuda.overrideTarget { cuda.capabilities = [ "8.6" ]; }).vllm-cuda
      '';
      description = "The environment that serves, of `target`.";
    };

    profile = mkOption {
      type = types.str;
      default = name;
      defaultText = literalExpression "<name>";
      example = "chat";
      description = "The serve profile of the target.";
    };

    settings = mkOption {
      type = types.submodule { options = import ./settings.nix { inherit lib; }; };
      default = { };
      example = {
        model = "Qwen/Qwen2.5-7B-Instruct";
        port = 9000;
        chunked-prefill = false;
      };
      description = ''
        What goes before the profile's own values, by the keys of `vllm-nix serve`. A model that is no
        folder is downloaded before vLLM starts. For vLLM's own flags there is `extraArgs`.
      '';
    };

    rank = mkOption {
      type = types.nullOr types.ints.unsigned;
      default = null;
      example = 1;
      description = "Which of `settings.nodes` hosts this is. The head, which answers clients, is 0.";
    };

    head = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "192.0.2.1";
      description = "Where the others of `settings.nodes` hosts reach the head.";
    };

    extraArgs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "--enable-auto-tool-choice"
        "--tool-call-parser=hermes"
      ];
      description = "Words of vLLM's own, put last. `--host` and `--port` are in `settings`.";
    };

    apiKeyFile = mkOption {
      type = types.externalPath;
      example = "/run/secrets/vllm";
      description = "The file with the key that clients send. Only root need read it.";
    };

    huggingFaceTokenFile = secret {
      example = "/run/secrets/hugging-face";
      description = "The file with a token of Hugging Face's, for models that ask for one. Only root need read it.";
    };

    environmentFile = secret {
      example = "/run/secrets/vllm.env";
      description = "A file of variables, `NAME=value` a line, for the download and for vLLM: a mirror, a proxy.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Whether others reach its port. `settings.host` says where it listens: 127.0.0.1, unless set.";
    };
  };
}
