"""What Ascend's software needs of CANN and of its driver, and what of that is not there.

CANN is NVIDIA's CUDA for Ascend: installed on the host, and put on the library path by its own
`set_env.sh`. vLLM itself says no more than "Failed to infer device type" when it is not.
"""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_nix.binaries.files import Found
from vllm_nix.binaries.linker import host_folders
from vllm_nix.errors import InputError
from vllm_nix.paths import expand
from vllm_nix.verification.environment import texts
from vllm_nix.verification.installed import Distribution

PACKAGES = frozenset(("torch-npu", "vllm-ascend"))
_FOLDERS = frozenset(("torch_npu", "vllm_ascend"))
# Without these, torch imports torch_npu and vLLM its plugin: neither would import at all.
WITHOUT = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "VLLM_PLUGINS": ""}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of CANN: the script that sets its environment, and variables that the script sets."""

    name: str
    script: str
    variables: tuple[str, ...] = ()


TOOLKIT = Part("CANN toolkit", "ascend-toolkit/set_env.sh", ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH"))
ATB = Part("CANN nnal (ATB)", "nnal/atb/set_env.sh", ("ATB_HOME_PATH",))
DRIVER = Part("NPU driver", "driver/lib64")

# Which part has which library.
_OF_TOOLKIT = (
    "acl_op_compiler acl_tdt_channel ascend_dump ascend_protobuf ascendalog ascendcl c_sec error_manager"
    " exe_graph fmk_parser ge_common_base ge_runner graph graph_base hccl mmpa nnopbase opapi platform"
    " profapi register runtime"
)
LIBRARIES = {f"lib{name}.so": TOOLKIT for name in _OF_TOOLKIT.split()} | {
    "libatb.so": ATB,
    "libascend_hal.so": DRIVER,
}


@dataclass(frozen=True, slots=True)
class Gap:
    """A part that is not there, by its libraries and variables; `script` if it could be sourced."""

    part: Part
    libraries: tuple[str, ...]
    variables: tuple[str, ...]
    script: Path | None


def applies(distributions: Iterable[Distribution]) -> bool:
    """Whether this environment is for Ascend."""
    return any(distribution.name in PACKAGES for distribution in distributions)


def places(parameters: Mapping[str, Any]) -> tuple[Path, ...]:
    """Where the launcher of a target's environment looks for CANN; none, if it does not.

    Raises `InputError`.
    """
    listed = _listed(parameters)
    named = [os.environ.get(name, "") for name in ("ASCEND_HOME_PATH", "ATB_HOME_PATH")]
    found = (*map(Path, filter(None, named)), *filter(None, map(_expanded, listed)))
    return found if listed else ()


def homes(parameters: Mapping[str, Any]) -> dict[str, Path]:
    """The folders of the user's home that the launcher looks into, by their names there.

    Raises `InputError`.
    """
    tops = (Path(place).parts[1] for place in _listed(parameters) if place.startswith("~/"))
    found = ((top, _expanded(f"~/{top}")) for top in tops)
    return {top: place for top, place in found if place}


def _listed(parameters: Mapping[str, Any]) -> list[str]:
    """The folders that a manifest names, which is not trusted."""
    found = []
    for key in ("toolkit", "atb", "driver"):
        for place in texts(parameters, "cann", key):
            parts = Path(place).parts
            below = len(parts) > 1 and parts[0] in ("/", "~")
            if not below or ".." in parts or "\0" in place:
                raise InputError(
                    f"the manifest's cann.{key}: {place!r} is not a folder such as "
                    "/usr/local/Ascend or ~/Ascend; build the environment again"
                )
            found.append(place)
    return found


def _expanded(place: str) -> Path | None:
    """The folder, with the user's home for `~`; None if this user has no home."""
    try:
        return expand(place)
    except InputError:
        return None


def gaps(
    binaries: Found,
    site_packages: Path,
    root: Path = Path("/usr/local/Ascend"),
    launched: Sequence[Path] = (),
) -> tuple[Gap, ...]:
    """The parts that the environment needs and would not find here; CANN is installed in `root`.

    `launched` are the places that the environment's own launcher looks in.
    """
    missing: defaultdict[str, list[str]] = defaultdict(list)
    below = ("lib64", "lib", "cxx_abi_0/lib", "cxx_abi_1/lib", "driver", "common")
    folders = [*host_folders(), *(place / folder for place in launched for folder in below)]
    for name in sorted(_needed(binaries, site_packages)):
        if not any((folder / name).exists() for folder in folders):
            missing[LIBRARIES[name].name].append(name)
    found = []
    for part in (TOOLKIT, ATB, DRIVER):
        if libraries := missing[part.name]:
            unset = tuple(name for name in part.variables if not os.environ.get(name))
            script = root / part.script
            found.append(Gap(part, tuple(libraries), unset, script if script.exists() else None))
    return tuple(found)


def _needed(binaries: Found, site_packages: Path) -> Collection[str]:
    """The libraries of CANN that Ascend's packages ask for."""
    names: set[str] = set()
    for file, image in binaries.images.items():
        inside = file.is_relative_to(site_packages)
        parts = file.relative_to(site_packages).parts[:1] if inside else file.parts[1:]
        if image.dynamic and not _FOLDERS.isdisjoint(parts):
            names.update(image.dynamic.needed)
    return names & LIBRARIES.keys()
