"""vLLM on the accelerator that you have: target parameters, locks, fetching and verification.

>>> import vllm_nix
>>> vllm_nix.load_target("jetson").environment()["TORCH_CUDA_ARCH_LIST"]
'8.7'
>>> vllm_nix.verify("result").exit_code  # doctest: +SKIP
0
"""

from importlib import import_module

TYPE_CHECKING = False  # typing's own would add 5 ms to every start
if TYPE_CHECKING:
    from vllm_nix.errors import Error
    from vllm_nix.targets import Target, load_target, target_names
    from vllm_nix.verification import Report, verify

__version__ = "0.1.0"
__all__ = ["Error", "Report", "Target", "load_target", "target_names", "verify"]

_MODULES = {
    "Error": "errors",
    "Report": "verification",
    "Target": "targets",
    "load_target": "targets",
    "target_names": "targets",
    "verify": "verification",
}


def __getattr__(name: str) -> object:
    """Imports a name when it is first used: the command starts faster without the rest."""
    if name not in _MODULES:
        raise AttributeError(f"module 'vllm_nix' has no attribute '{name}'")
    return getattr(import_module(f"vllm_nix.{_MODULES[name]}"), name)
