"""Targets: the systems that vLLM is built for, each a file of parameters that Nix reads as well."""

from vllm_nix.targets.parameters import Parameters, ServeProfile
from vllm_nix.targets.target import (
    Target,
    check_recorded,
    check_target,
    complete_target,
    load_target,
    profile_keys,
    read_target,
    rules,
    shared_profiles,
    target_names,
)

__all__ = [
    "Parameters",
    "ServeProfile",
    "Target",
    "check_recorded",
    "check_target",
    "complete_target",
    "load_target",
    "profile_keys",
    "read_target",
    "rules",
    "shared_profiles",
    "target_names",
]
