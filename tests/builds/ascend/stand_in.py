"""CANN in name only: its folders as an installation has them, and every function that torch_npu calls.

Each function does nothing and answers 0, which CANN's mean as success; so there are 0 devices. torch_npu
loads with it, and vLLM takes the plugin's platform, as on a machine with CANN.
"""

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from vllm_nix.verification.cann import DRIVER, LIBRARIES, TOOLKIT

# ACL, HCCL, the graph engine, ATB, and the bounds-checked functions of C that come with them.
_FUNCTIONS = re.compile(r"(acl|Hccl|_ZNK?2ge|_ZNK?3atb)\w+|(strcpy|vsnprintf)_s")


def install(root: Path, users: Iterable[Path], compile_library: Callable[..., bytes]) -> None:
    """Puts CANN below `root`, with what the libraries `users` call of it."""
    functions = sorted(name for name in _undefined(users) if _FUNCTIONS.fullmatch(name))
    assert functions
    toolkit = root / "ascend-toolkit/latest"
    for folder in ("opp", "runtime", "compiler"):  # torch_npu looks whether they are there
        (toolkit / folder).mkdir(parents=True)
    calls = (
        f'int f{number}(void) __asm__("{name}"); int f{number}(void) {{ return 0; }}'
        for number, name in enumerate(functions)
    )
    folders = {TOOLKIT: toolkit / "lib64", DRIVER: root / "driver/lib64/driver"}
    for name, part in LIBRARIES.items():
        place = folders.get(part, root / "nnal/atb/latest/atb/cxx_abi_0/lib")
        place.mkdir(parents=True, exist_ok=True)
        source = "\n".join(calls) if name == "libascendcl.so" else ""
        library = compile_library(source, f"-Wl,-soname,{name}", name=name)
        (place / name).write_bytes(library)


def _undefined(libraries: Iterable[Path]) -> set[str]:
    command = ["nm", "--dynamic", "--undefined-only", "--format=posix", *map(str, libraries)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split(" ")[0].partition("@")[0] for line in lines}
