"""Extensions for another Python: a wheel may have one for each, as vLLM 0.24's DeepGEMM, and Python passes
over those whose names have another's tag."""

import re
from pathlib import Path

from vllm_nix.verification.check import Context

_CPYTHON = re.compile(r"\.cpython-([0-9]+)[a-z]*-[^.]*\.so$")  # PEP 3149


def is_for_another(context: Context, file: Path) -> bool:
    """Whether a file is one, as far as it is known which Python the environment has."""
    tag = _CPYTHON.search(file.name)
    if tag is None or isinstance(context.interpreter, str):
        return False
    return tag[1] != "".join(context.interpreter.version.split(".")[:2])
