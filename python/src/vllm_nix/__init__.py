"""vLLM on the accelerator that you have: target parameters, serve profiles and verification.

The names in `__all__` are the stable interface; docs/api.md describes each.

>>> import vllm_nix
>>> vllm_nix.load_target("jetson").environment()["TORCH_CUDA_ARCH_LIST"]
'8.7'
>>> vllm_nix.verify("result").exit_code  # doctest: +SKIP
0
"""

TYPE_CHECKING = False  # typing's own would add 5 ms to every start
if TYPE_CHECKING:
    from vllm_nix.errors import Error, InputError, InputTypeError, Unavailable
    from vllm_nix.serve import Command, Profile, load_profile, profile_names
    from vllm_nix.targets import Target, load_target, target_names
    from vllm_nix.verification import Check, Finding, Report, Result, Status, verify
    from vllm_nix.version import __version__

__all__ = [
    "Check",
    "Command",
    "Error",
    "Finding",
    "InputError",
    "InputTypeError",
    "Profile",
    "Report",
    "Result",
    "Status",
    "Target",
    "Unavailable",
    "__version__",
    "load_profile",
    "load_target",
    "profile_names",
    "target_names",
    "verify",
]

_NAMES = {
    "errors": ("Error", "InputError", "InputTypeError", "Unavailable"),
    "serve": ("Command", "Profile", "load_profile", "profile_names"),
    "targets": ("Target", "load_target", "target_names"),
    "verification": ("Check", "Finding", "Report", "Result", "Status", "verify"),
    "version": ("__version__",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Imports a name when it is first used: the command starts faster without the rest."""
    if name not in _MODULES:
        raise AttributeError(f"module 'vllm_nix' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"vllm_nix.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
