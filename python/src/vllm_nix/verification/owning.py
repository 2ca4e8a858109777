"""Which distribution has what is missed, as far as the environment itself says."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from vllm_nix.text import quoted
from vllm_nix.verification.check import Context
from vllm_nix.verification.installed import Distribution, is_version
from vllm_nix.verification.known import TAKEN
from vllm_nix.verification.opened import requires

CACHE = "flashinfer-jit-cache"  # and the packages of its parts, by capability
_MODULE = re.compile(r"No module named '(\w{1,100})'")
_COMPILED = re.compile(r"No module named '(\w{1,100}\.[\w.]{1,200})'")
# Of what vLLM and its kin import: distributions whose modules have other names.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "_cffi_backend": "cffi",
    "attr": "attrs",
    "cpuinfo": "py-cpuinfo",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "google": "protobuf",
    "jwt": "pyjwt",
    "multipart": "python-multipart",
    "pynvml": "nvidia-ml-py",
    "pythonjsonlogger": "python-json-logger",
    "sklearn": "scikit-learn",
    "tvm_ffi": "apache-tvm-ffi",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}


def owner_of(context: Context, file: Path) -> str:
    """What to install for a file: its distribution; of one that no RECORD has, its package."""
    found = context.facts.records().owner(file)
    return found.name if found else context.packages.top(file)


def fix_again(context: Context, file: Path) -> str:
    """The fix for a file that is damaged: what owns it, or what it was compiled by."""
    if owner := context.facts.records().owner(file):
        return f"install {owner.name} again"
    for found in context.distributions:
        project = Path(found.editable or found.place)
        if project not in context.packages.folders and file.is_relative_to(project):
            return f"compile it again: pip install -e {quoted(str(project))}"
    return "install the wheel that owns it again"


def fix_gone(context: Context, name: str) -> str:
    """The fix for a library that an installed distribution has recorded and that is no longer there, or
    no library; "" if none has."""
    for path, owners in context.facts.records().owners.items():
        if path.rpartition("/")[2] == name:
            return f"install {owners[0].distribution.name} again: its {name} is gone or damaged"
    return ""


def fix_module(context: Context, problem: str) -> str:
    """The fix for a module that is not found: of a distribution that is installed and has lost it, or has it
    for another Python, or that another asks for; "" if none."""
    if compiled := _COMPILED.search(problem):
        for file in context.packages.glob(f"{compiled[1].replace('.', '/')}.cpython-*.so"):
            return f"install {owner_of(context, file)} again, with this Python: {file.name} is for another"
    if not (named := _MODULE.search(problem)):
        return ""
    module = named[1]
    for path, owners in context.facts.records().owners.items():
        owner = owners[0].distribution
        if path.startswith((f"{owner.place}/{module}/", f"{owner.place}/{module}.")):
            return f"install {owner.name} again: its {module} is gone"
    name = _DISTRIBUTIONS.get(module, canonicalize_name(module))
    for found in context.distributions:
        for text in filter(lambda text: _asks(text, name), found.requires):
            with suppress(ValueError, RecursionError):
                wanted = f"{name}{Requirement(text).specifier}"
                return f"pip install {quoted(wanted)}, which {found.name} asks for"
    return f"pip install {name}" if module in _DISTRIBUTIONS else ""


def optional(context: Context) -> frozenset[str]:
    """The distributions that neither vLLM nor torch requires, directly or not, nor takes as soon as they are
    there. None where a target says what belongs in, or where vLLM is not what it is for."""
    if context.parameters or context.installed("vllm") is None:
        return frozenset()
    there = {found.name: found for found in context.distributions}
    needed, left = set[str](), ["vllm", "torch"]
    while left:
        name = left.pop()
        if name not in there or name in needed:
            continue
        needed.add(name)
        for text in there[name].requires:
            if (named := re.match(r"\s*([\w.-]+)", text)) and "extra" not in text.partition(";")[2]:
                left.append(canonicalize_name(named[1]))
    return frozenset(
        name
        for name in there.keys() - needed
        if not name.startswith(TAKEN) or (name.startswith(CACHE) and _passes_over(there))
    )


def _passes_over(there: Mapping[str, Distribution]) -> bool:
    """Whether FlashInfer takes of its cache what is for the device, and compiles the rest, as of 0.7
    (get_aot_artifacts): before, it loaded what was there."""
    own = there.get("flashinfer-python")
    return own is not None and is_version(own.version) and Version(own.version) >= Version("0.7")


def asks(context: Context, name: str) -> str:
    """The first distribution that requires another, and not as an extra; "" if none does."""
    asking = (
        one for one in context.distributions if any(_asks(text, name) for text in one.requires)
    )
    return next((one.name for one in asking), "")


def _asks(requirement: str, name: str) -> bool:
    return requires(requirement, name) and "extra" not in requirement
