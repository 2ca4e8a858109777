"""Libraries that LD_LIBRARY_PATH puts in the place of the environment's or the system's."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.linker import LinkerError
from vllm_nix.text import quoted
from vllm_nix.verification.check import Context

_CUDAS = re.compile(r"lib(?:cu|nv|nccl|npp|torch|c10)")


def replaced(context: Context) -> Mapping[Path, list[str]]:
    """By folder of LD_LIBRARY_PATH: the names of libraries of CUDA and torch that `import torch` loads
    from there, and that the environment has itself."""
    if isinstance(context.interpreter, str) or context.manifest:
        return {}
    linking = context.linking()
    own = {file.name for file in linking.images}
    folders = {os.path.normpath(folder) for folder in context.interpreter.library_path}
    found: defaultdict[Path, list[str]] = defaultdict(list)
    for one in linking.torch.objects:
        place = Path(os.path.normpath(one.path))
        is_other = str(place.parent) in folders and not context.packages.holds(place)
        if is_other and place.name in own and _CUDAS.match(place.name):
            found[place.parent].append(place.name)
    return found


def take_out(context: Context, file: Path, name: str = "", symbol: bytes = b"") -> str:
    """The fix for a library that gets one from LD_LIBRARY_PATH whose name begins so, or one from anywhere
    that hides the environment's own, which has the symbol; "" if it gets no such."""
    linking = context.linking()
    if isinstance(context.interpreter, str) or context.manifest or file not in linking.images:
        return ""  # a Nix build's launcher has the driver's folder there, and nothing else
    folders = {os.path.normpath(folder) for folder in context.interpreter.library_path}
    try:
        scope, _ = linking.torch.copy().load(str(file), linking.images[file])
    except LinkerError:
        return ""
    for one in scope:
        place = Path(os.path.normpath(one.path))
        is_named = str(place.parent) in folders
        hides = not context.packages.holds(place) and _own_has(context, place.name, symbol)
        if is_named and (hides or (name and place.name.startswith(name))):
            return f"take {place.parent} out of LD_LIBRARY_PATH: its {place.name} is found first"
        if hides:
            return (
                f"{place} is found before the environment's own, which has it: move it away, or take its folder out "
                f"of what leads there (patchelf --print-rpath {quoted(str(file))}; /etc/ld.so.conf.d)"
            )
    return ""


def _own_has(context: Context, name: str, symbol: bytes) -> bool:
    """Whether a library of that name in the environment defines a symbol."""
    with suppress(ElfError, OSError):
        return any(
            symbol in context.facts.symbols(file).defined
            for file in context.linking().images
            if symbol and file.name == name
        )
    return False
