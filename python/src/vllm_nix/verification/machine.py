"""The GPUs to judge for: those that were asked for, the target's, or this machine's by its driver."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vllm_nix import gpu
from vllm_nix.errors import InputError
from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.device import Device, cuda_release, device, is_release, jetpack_release
from vllm_nix.paths import read_toml, real
from vllm_nix.verification.environment import Environment, lookup, texts
from vllm_nix.verification.fixes import fix_for

# What only a driver has, under the sonames that CUDA libraries ask for; on Jetson, L4T's as well.
DRIVER_LIBRARIES = frozenset(
    ("libcuda.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-ml.so.1")
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device; `capability` as in "8.7", `memory` in bytes. The memory of an `integrated` one is
    the host's."""

    name: str
    capability: str
    integrated: bool
    memory: int


@dataclass(frozen=True, slots=True)
class Driver:
    """`version` is the newest CUDA that the driver runs, as in "12.6"; `nvml` what NVML's start gives,
    0 if it starts, None if there is no NVML; `mixed` says which of its libraries is of another release,
    `compiles` whether the one is there that compiles PTX."""

    version: str
    devices: tuple[Gpu, ...]
    nvml: int | None = None
    mixed: str = ""
    compiles: bool = True


@dataclass(frozen=True, slots=True)
class BrokenDriver:
    """A driver that does not start, or is not there beside its device. It is no fault where the machine has
    no GPU, or this process was set to see none."""

    found: str
    fix: str
    is_fault: bool = True
    is_there: bool = True

    def __str__(self) -> str:
        return "the NVIDIA driver does not start: see `live-device`"


ABSENT = "no NVIDIA driver here"
NO_DEVICE, MISMATCH = 100, 803
COMPAT = "compat"  # the folder of NVIDIA's forward compatibility packages
# Of this machine, for a test to put others in their place (proc(5), NVIDIA driver's README, "NVIDIA
# Contributed Kernel Interfaces"; sysfs-bus-pci).
KERNEL_MODULE = Path("/proc/driver/nvidia/version")
DEVICES = Path("/dev")
PCI = Path("/sys/bus/pci/devices")
# Where nix/environment/driver.sh looks, too.
_SYSTEM = Path(f"/usr/lib/{platform.machine()}-linux-gnu")
DRIVER_FOLDERS: tuple[Path, ...] = (
    Path("/run/opengl-driver/lib"),
    Path("/usr/lib/wsl/lib"),
    *(_SYSTEM / name for name in ("", "nvidia/current", "nvidia", "tegra")),
    Path("/usr/lib64"),
    Path("/usr/local/nvidia/lib64"),
)
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_RELEASE = re.compile(r"(?<![0-9])[0-9]{3,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?(?![0-9.])")


def ask_driver(environment: Environment) -> Driver | BrokenDriver | str:
    """Asks in a child process, for a broken driver may crash or hang; else why there is none."""
    outcome = environment.probe("driver")
    words = outcome.reasons() if outcome.end else ""
    if "ImportError" in words or "ModuleNotFoundError" in words:  # this Python has no ctypes
        said = f"the NVIDIA driver cannot be asked: {words}"
        return BrokenDriver(said, fix_for(words, "install that Python again"))
    if outcome.end or len(outcome.answers) != 1:
        return BrokenDriver(
            f"the NVIDIA driver's library breaks its process: {outcome.end or 'no answer'}",
            "look at dmesg for NVRM and Xid lines, then reboot or install the driver again",
        )
    answer = outcome.answers[0]
    try:
        return _driver(answer)
    except (KeyError, OverflowError, TypeError, ValueError, InputError):  # 1e999 is a number
        said = f"the NVIDIA driver cannot be asked: its process answers {str(answer)[:200]}"
        return BrokenDriver(said, "install the driver again")


def _driver(answer: Mapping[str, Any]) -> Driver | BrokenDriver | str:
    """What was answered, which is not trusted. Raises KeyError, TypeError, ValueError or InputError."""
    if "absent" in answer:
        return _out_of_reach() or _left_outside() or _left_over() or ABSENT
    if "broken" in answer:
        why = str(answer["broken"])
        whole = "install the driver again, all of its libraries in one release"
        # Neither is fixed by another installation: an image's empty file, one that is not readable.
        is_whole = "file too short" in why or "Permission denied" in why
        said = f"the NVIDIA driver's library does not answer: {why}"
        return BrokenDriver(said, fix_for(why, whole) if is_whole else whole)
    library, nvml = str(answer.get("library", "")), answer.get("nvmlInit")
    nvml = None if nvml is None else int(nvml)
    if status := int(answer.get("cuInit", 0)):
        return broken_driver(status, nvml, library)
    parts = [str(part) for part in answer.get("parts", [])[:2]]
    driver = Driver(
        _release(answer["version"]),
        tuple(map(_gpu, answer["devices"])),
        nvml,
        _mixed(library, parts),
        _compiles(library, parts),
    )
    return driver if driver.devices else broken_driver(0, nvml, library)


def _mixed(library: str, parts: Sequence[str]) -> str:
    """Which part of a driver is of another release than its libcuda; a compatibility package has no NVML."""
    own = _release_in(os.path.realpath(library))
    for part in parts:
        release = _release_in(os.path.realpath(part))
        is_kernels = COMPAT in Path(library).parts and "libnvidia-ml" in part
        if own and release and release != own and not is_kernels:
            return f"{part} is of driver {release}, and {library} of {own}"
    return ""


def _compiles(library: str, parts: Sequence[str]) -> bool:
    """Whether its PTX compiler is loaded, or beside it, where its own RUNPATH may have it."""
    name = "libnvidia-ptxjitcompiler.so.1"
    beside = (Path(library).parent, Path(os.path.realpath(library)).parent)
    return not parts or bool(parts[-1]) or any((folder / name).exists() for folder in beside)


def _out_of_reach() -> BrokenDriver | None:
    """A driver that this Python's loader does not find, by the places where drivers are installed: a
    Python of Nix's looks in none of the host's, and a container may lack the link by the soname."""
    for folder in DRIVER_FOLDERS:
        if _has_content(folder / "libcuda.so.1"):
            return BrokenDriver(
                f"the NVIDIA driver's {folder}/libcuda.so.1 is not where this Python's loader looks",
                f"export LD_LIBRARY_PATH={folder}, or for the host's own Python name it to ldconfig",
            )
        for file in filter(_has_content, sorted(folder.glob("libcuda.so.[0-9][0-9][0-9]*"))):
            return BrokenDriver(
                f"the NVIDIA driver's {file} is there, and the link libcuda.so.1 to it is not",
                f"ldconfig, as root, makes the links; or ln -s {file.name} {folder}/libcuda.so.1",
            )
    return None


def _has_content(file: Path) -> bool:
    """Not so in an image that was saved from a container, in whose place the driver had been mounted."""
    with suppress(OSError):
        return file.stat().st_size > 0
    return False


CONTAINER = "start the container with --gpus all (or its CDI device)"


def _left_outside() -> BrokenDriver | None:
    """A device without a driver's library: as in a container that was started without it."""
    if module := _first_line(KERNEL_MODULE):
        release = _release_in(module) or "the same release"
        return BrokenDriver(
            f"the kernel has NVIDIA's module {release}, and there is no libcuda.so.1",
            f"{CONTAINER}; on the host install the driver's libraries, {release}",
            is_there=False,
        )
    if _is_tegra() or (DEVICES / "nvmap").exists():
        return BrokenDriver(
            "this is a Jetson, and there is no libcuda.so.1",
            "start the container with --runtime nvidia; on the host: apt-get install nvidia-l4t-cuda",
            is_there=False,
        )
    if cards := _cards():
        return BrokenDriver(
            f"there is an NVIDIA device at PCI {cards[0]}, and no driver",
            f"{CONTAINER}; on the host install NVIDIA's driver",
            is_there=False,
        )
    if (DEVICES / "dxg").exists():
        return BrokenDriver(
            "this is WSL, and there is no libcuda.so.1",
            f"{CONTAINER}; in WSL itself update Windows' driver, then wsl --update",
            is_fault=False,  # Windows may have another maker's device
        )
    return None


def _left_over() -> BrokenDriver | None:
    """What an image has that was saved from a container with a driver, or a host whose driver was removed."""
    for folder in DRIVER_FOLDERS:
        if os.path.lexists(link := folder / "libcuda.so.1"):
            return BrokenDriver(
                f"{link} is {'empty' if link.exists() else 'a link to nothing'}: what is left of a driver",
                f"{CONTAINER}; on the host install NVIDIA's driver again",
                is_there=False,
                is_fault=False,
            )
    return None


def _cards() -> list[str]:
    return [card.name for card in sorted(PCI.glob("*")) if _is_card(card)]


def broken_driver(status: int, nvml: int | None, library: str) -> BrokenDriver:
    """Why cuInit gives `status`, or 0 and no device, as far as this machine's files say."""
    module, own = _release_in(_first_line(KERNEL_MODULE)), _release_in(os.path.realpath(library))
    found = "the NVIDIA driver starts, and has no device"
    if status:
        found = f"the NVIDIA driver does not start: cuInit gives {error('cuInit', status)}"
    if nvml:
        found += f", nvmlInit {error('nvmlInit', nvml)}"
    if module and own:
        found += f"; libcuda is of {own}, the kernel module of {module}"
    closed = [
        str(file)
        for pattern in ("nvidia[0-9]*", "nvidiactl", "nvidia-uvm", "nvmap", "nvhost-gpu")
        for file in sorted(DEVICES.glob(pattern))
        if not os.access(file, os.R_OK | os.W_OK)
    ]
    is_mixed = COMPAT not in Path(library).parts and module and own and module != own
    if closed:
        return BrokenDriver(
            f"{found}; {closed[0]} may not be opened",
            f"let this user read and write {' '.join(closed)} (their group, or the container's rights)",
        )
    if is_mixed or nvml == _NVML_MISMATCH:
        return BrokenDriver(found, fix("cuInit", MISMATCH, library))
    if _is_tegra() and status in OF_DEVICES and not os.environ.get("CUDA_VISIBLE_DEVICES"):
        return _of_jetson(found)
    uvm = DEVICES / "nvidia-uvm"
    if (
        not _is_tegra()
        and status in _WITHOUT_UVM
        and any(DEVICES.glob("nvidia[0-9]*"))
        and not uvm.exists()
    ):
        return BrokenDriver(
            f"{found}; there is no {uvm}",
            f"as root on the host: nvidia-modprobe -u -c=0, or modprobe nvidia-uvm; have the container see {uvm}",
        )
    if status in (0, NO_DEVICE):
        return _no_device(found, library)
    return BrokenDriver(found, fix("cuInit", status, library))


# What cuInit gives where device files are missing: no device, not initialised, the system's, unknown ...
OF_DEVICES = (0, 3, NO_DEVICE, 304, 801, 999)
_WITHOUT_UVM = (3, 304, 999)  # nvidia-docker#1085, podman#9926


def _is_tegra() -> bool:
    return "tegra" in platform.release()


def _of_jetson(found: str) -> BrokenDriver:
    """Its kernel modules are nvgpu and nvmap, or, from JetPack 7 on, nvidia as well."""
    if not any(
        any(DEVICES.glob(name)) for name in ("nvmap", "nvhost-gpu", "nvgpu", "nvidia[0-9]*")
    ):
        return BrokenDriver(
            f"{found}; there is no {DEVICES}/nvmap", "start the container with --runtime nvidia"
        )
    return BrokenDriver(
        found,
        "put this user into the groups video and render (usermod -aG video,render USER) and log in "
        "again; dmesg has nvgpu's and nvmap's own words; after an update, reboot",
    )


def _no_device(found: str, library: str) -> BrokenDriver:
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return BrokenDriver(
            f"{found}; CUDA_VISIBLE_DEVICES is {shown!r}",
            "unset CUDA_VISIBLE_DEVICES, or name a device that nvidia-smi -L lists",
            is_fault=shown.strip() not in ("", "-1", "NoDevFiles"),
        )
    if any(DEVICES.glob("nvidia[0-9]*")):
        how = (
            "with MIG on, make instances (nvidia-smi mig -cgi 0 -C) and let the container see one, or switch it off "
            "(nvidia-smi -mig 0); if nvidia-smi -L lists no device, look at dmesg for NVRM and Xid lines"
        )
        return BrokenDriver(f"{found}; there is {DEVICES}/nvidia0", how)
    if cards := _cards():
        return BrokenDriver(
            f"{found}, but has one at PCI {cards[0]}",
            f"{CONTAINER}; on the host: modprobe nvidia",
        )
    return BrokenDriver(found, fix("cuInit", NO_DEVICE, library), is_fault=False)


def _is_card(card: Path) -> bool:
    vendor, kind = _first_line(card / "vendor"), _first_line(card / "class")
    return vendor == _NVIDIA and kind.startswith(_DISPLAY)


_NVML_MISMATCH = 18


def error(function: str, status: int) -> str:
    """The name and number of an error of cuInit or nvmlInit."""
    row = _errors()[function].get(str(status))
    return f"error {status} ({row['name']})" if row else f"error {status}"


def fix(function: str, status: int, library: str = "") -> str:
    """What to do about it."""
    row = _errors()[function].get(str(status), {})
    text = row.get("fix", "look at dmesg for NVRM and Xid lines, and at nvidia-smi")
    if COMPAT in Path(library).parts:
        text = row.get("fix-of-compat", text)
    named = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    if library and real(Path(library).parent) not in {real(Path(folder)) for folder in named}:
        text = text.replace("off LD_LIBRARY_PATH", CACHED)
    return text.replace("{library}", library or "libcuda.so.1")


# As vLLM's own image had it in 0.15: where LD_LIBRARY_PATH does not name the folder, the cache does.
CACHED = "out of the loader's cache (its line in /etc/ld.so.conf.d, then ldconfig)"


@cache
def _errors() -> dict[str, dict[str, dict[str, str]]]:
    """driver-errors.toml."""
    return read_toml(Path(gpu.__file__).parent / "driver-errors.toml")


def _release_in(text: str) -> str:
    """The driver's release in the kernel module's description, or in a library's path."""
    found = _RELEASE.findall(text.rpartition("/")[2])
    return found[0] if found else ""


def _first_line(file: Path) -> str:
    """Of a small file of the kernel's; "" if it is not there."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.readline(1000).strip()
    except OSError:
        return ""


def _gpu(answer: Any) -> Gpu:
    return Gpu(
        name=str(answer["name"]),
        capability=str(ComputeCapability.parse(_release(answer["capability"]))),
        integrated=bool(answer["integrated"]),
        memory=int(answer["memory"]),
    )


def _release(text: object) -> str:
    """Two numbers with a point between, as in "8.7". Raises ValueError."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", text):
        raise ValueError(f"{text!r} is not of the form 8.7")
    return text


@dataclass(frozen=True, slots=True)
class Question:
    """`--for`, `--cuda` and `--jetpack`."""

    device: str | None = None
    cuda: str | None = None
    jetpack: str | None = None


def named_devices(question: Question, parameters: Mapping[str, Any]) -> tuple[Device, ...]:
    """The devices that were asked for, by name or by the target. Raises `InputError`."""
    if question.cuda is not None:
        cuda_release(question.cuda)
    if question.jetpack is not None:
        jetpack_release(question.jetpack)
    if question.device and "," in question.device:
        first, *_ = names = question.device.split(",")
        others = " ".join(f"--for {name.strip()}" for name in names)
        raise InputError(
            f"--for {question.device}: one device at a time, such as --for {first.strip()}; "
            f"`vllm-nix archs ENV {others}` shows several"
        )
    names = (
        [question.device]
        if question.device is not None
        else texts(parameters, "cuda", "capabilities")
    )
    jetpack = jetpack_of(question, parameters)
    toolkit = None if jetpack else lookup(parameters, "cuda", "toolkit")
    cuda = question.cuda or (str(toolkit) if toolkit else None)
    return tuple(device(name, cuda, jetpack) for name in names)


def devices_here(question: Question, driver: Driver | BrokenDriver | str) -> tuple[Device, ...]:
    """The devices of this machine, the first of each capability. What is newer or older than our
    tables is judged by the rules that hold for all."""
    if not isinstance(driver, Driver):
        return ()
    own = driver.version if is_release(driver.version) else None
    cuda = cuda_release(question.cuda) if question.cuda else own
    names: dict[str, str] = {}
    for one in driver.devices:
        names.setdefault(one.capability, one.name)
    parsed = ((name, ComputeCapability.parse(number)) for number, name in names.items())
    return tuple(Device(name, capability, cuda) for name, capability in parsed)


def jetpack_of(question: Question, parameters: Mapping[str, Any]) -> str | None:
    """The JetPack release, unless a CUDA release or another device was named."""
    if question.jetpack or question.device or question.cuda:
        return question.jetpack
    version = lookup(parameters, "jetpack", "version")
    return str(version) if version else None
