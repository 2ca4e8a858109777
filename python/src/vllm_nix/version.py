"""The release, here alone: pyproject.toml and pkgs/vllm-nix read it, `vllm_nix` offers it."""

__version__ = "0.1.0"
