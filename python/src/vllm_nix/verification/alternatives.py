"""Libraries that a package has once for each release of CUDA, of ROCm, of another toolkit or of torch, to
load that for the torch which is there: bitsandbytes' libbitsandbytes_cuda128.so, CUTLASS's cu12 and cu13,
torch_c_dlpack_ext's torch28."""

import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from vllm_nix.binaries.files import open_regular
from vllm_nix.verification.check import Context

_LABEL = re.compile(
    r"(?<![a-z])(?:(cuda|cu|rocm|xpu|torch)[-_]?([0-9]{2,4})(?![0-9])|cpu(?![a-z]))"
)
# In torch/version.py; ROCm is called by its part HIP.
_VERSIONS = re.compile(r"^(cuda|hip|xpu|__version__)\b[^=\n]*= *['\"]([0-9.]+)", re.MULTILINE)
_FAMILIES = {"cu": "cuda", "hip": "rocm", "__version__": "torch"}
_MOST = 1 << 16  # bytes of torch/version.py, which has 500


def unused(context: Context) -> frozenset[Path]:
    """Those for another torch. Those of another toolkit than torch's only where there is one for that: of
    just its release, or else of its major one."""
    groups: defaultdict[str, dict[Path, tuple[str, str]]] = defaultdict(dict)
    files = {context.place(file): file for file in context.facts.binaries().images}
    for place, file in files.items():
        for label in _LABEL.finditer(place):  # nixl_ep_cu12's torch211 has two
            kind = _FAMILIES.get(label[1], label[1]) or "cpu"
            name = place[: label.start()].rstrip("_-.") + place[label.end() :]
            groups[name][file] = kind, label[2] or ""
    for name in groups.keys() & files.keys():  # that of torch_memory_saver has none
        groups[name][files[name]] = "", ""
    own = _torchs(context) if groups else {}
    found: set[Path] = set()
    for group in groups.values():
        there = set(group.values())
        is_torchs = any(kind == "torch" for kind, _ in there)
        if len(there) == 1 and not is_torchs:
            continue
        kind = "torch" if is_torchs else next(iter(own), "")
        wanted = next((one for one in own.get(kind, ()) if (kind, one) in there), None)
        if wanted is not None or (is_torchs and own):
            found |= {file for file, label in group.items() if label != (kind, wanted)}
    return frozenset(found)


def _torchs(context: Context) -> dict[str, tuple[str, ...]]:
    """How the releases of torch's toolkit and of torch are written, the most precise first; empty if they
    are not known."""
    for folder in context.packages.find("torch"):
        with suppress(OSError), open_regular(folder / "version.py") as stream:
            text = stream.read(_MOST).decode("utf-8", "replace")
            versions = {_FAMILIES.get(name, name): text for name, text in _VERSIONS.findall(text)}
            torch = versions.pop("torch", "")
            own = {kind: _labels(version) for kind, version in versions.items()}
            return (own or {"cpu": ("",)}) | {"torch": _labels(torch)[:1]}
    return {}


def _labels(version: str) -> tuple[str, ...]:
    major, _, rest = version.partition(".")
    return major + rest.partition(".")[0], major
