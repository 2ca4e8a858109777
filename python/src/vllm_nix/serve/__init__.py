"""Serve profiles: what a target's file asks of vLLM, in the words of its release, printed or run.

>>> from vllm_nix.serve import load_profile
>>> load_profile("cpu", "chat", {"port": 9000}).command().words[:2]
('vllm', 'serve')
"""

from vllm_nix.serve.command import Command
from vllm_nix.serve.flags import check_arguments, render
from vllm_nix.serve.profile import Profile, load_profile, profile_names

__all__ = ["Command", "Profile", "check_arguments", "load_profile", "profile_names", "render"]
