"""A Python that Nix made, in an environment of others' wheels: its loader looks in none of the host's folders."""

import re

from vllm_nix.store import store_dir
from vllm_nix.verification.check import Context

# Of the host: neither the wheels' own, nor the driver's, nor one that another wheel does without.
_MISSING = re.compile(
    r"(lib(?!cu|nv|nccl|npp|torch|c10|c\.musl|GL\.)[\w.+-]{1,80}?\.so[.0-9]{0,20}): cannot open shared object file: No such"
)


def host_library(context: Context, message: str) -> str:
    """The fix for a message of a library that is the host's, where Python is Nix's; "" elsewhere."""
    interpreter = context.interpreter
    if context.manifest or isinstance(interpreter, str):
        return ""
    found = _MISSING.search(message)
    if not found or not interpreter.binary.is_relative_to(store_dir()):
        return ""
    return (
        f"this Python is Nix's, which looks for {found[1]} in none of the host's folders: make the environment "
        "with the host's own Python; on NixOS have the lib folder of what has it (libstdc++: stdenv.cc.cc.lib, "
        "libz: zlib) on LD_LIBRARY_PATH"
    )
