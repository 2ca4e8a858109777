# `nix run`: the command. `nix run .#vllm-cpu -- serve ...` needs no app: a package has its mainProgram.
_: pkgs:
let
  package = pkgs.vllmPackages.vllm-nix;
in
{
  default = {
    type = "app";
    program = "${package}/bin/${package.meta.mainProgram}";
    meta = { inherit (package.meta) description; };
  };
}
