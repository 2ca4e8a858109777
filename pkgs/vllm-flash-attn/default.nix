# The source of vllm-flash-attn at a target's commit, as a folder with CUTLASS in it, native for the
# target's capabilities: vLLM's CMakeLists.txt compiles it as a part of vLLM.
{
  cutlass,
  fetchFromGitHub,
  lib,
  patchedSource,
  sourceRow,
  target,
}:
let
  inherit (target.vllm-flash-attn) rev;
  row = sourceRow ./sources.toml "vllm-flash-attn" rev;
  forOrin = lib.elem "8.7" target.cuda.capabilities;
  sm87 =
    row.sm87
      or (throw "vllm-flash-attn ${rev} has no code for capability 8.7, and no patch here adds it; take another release of vLLM");
in
patchedSource {
  pname = "vllm-flash-attn";
  version = lib.substring 0 8 rev;
  src = fetchFromGitHub {
    owner = "vllm-project";
    repo = "flash-attention";
    inherit rev;
    inherit (row) hash;
  };
  replacements =
    lib.optionals forOrin (import ./sm87.nix).${sm87}
    ++ lib.optionals (row.sm87 or "" == "cmake") (import ./hopper.nix);
  # A submodule of its own; vLLM's release of it does.
  postPatch = ''
    rm -rf csrc/cutlass
    ln -s ${cutlass} csrc/cutlass
  '';
  meta = {
    description = "Source of vLLM's fork of flash-attention, with CUTLASS in it";
    homepage = "https://github.com/vllm-project/flash-attention";
    license = lib.licenses.bsd3;
  };
}
