"""What a machine has that a target may be for: asked of its files alone, so that nothing can hang.

Each is read within bounds, and believed only where it has the form that its maker gives it.
"""

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vllm_nix.errors import InputError
from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.device import device, jetpack_release
from vllm_nix.text import printable

_MOST = 1 << 16  # bytes of a file that are read
_DEVICES = 256  # of a kind
_NAME = 100  # characters

# PCI vendors and devices: https://admin.pci-ids.ucw.cz; AWS's in its driver (aws-neuronx-dkms, neuron_pci.c).
_NVIDIA, _HUAWEI, _AMAZON = "0x10de", "0x19e5", "0x1d0f"
_NPUS = {"0xd801": "Ascend 910", "0xd802": "Ascend 910B", "0xd500": "Ascend 310P"}
_NEURON = {
    "0x7164": "Trainium 1",
    "0x7264": "Inferentia 2",
    "0x7364": "Trainium 2",
    "0x7564": "Trainium 3",
}
_DISPLAY = "0x03"  # the class of GPUs
# Jetson's processors, by what the kernel calls them.
_TEGRA = {"tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
_CANN = ("usr/local/Ascend/ascend-toolkit/latest", "usr/local/Ascend/cann")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """`capability` of a GPU, None if its name is not known here, or it is no GPU."""

    name: str
    capability: ComputeCapability | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """`driver` is NVIDIA's kernel driver, as "580.65.06"; `jetpack` a release, as "6.2", `l4t` what says
    so; `cann` a release of CANN. Each is None if it is not there. `cpu` names the instruction sets that
    count for vLLM."""

    system: str
    gpus: tuple[Accelerator, ...] = ()
    driver: str | None = None
    board: str | None = None
    jetpack: str | None = None
    l4t: str | None = None
    npus: tuple[Accelerator, ...] = ()
    cann: str | None = None
    neuron: tuple[Accelerator, ...] = ()
    neuron_driver: bool = False
    wsl: bool = False
    cpu: str = ""

    def lines(self) -> Iterator[str]:
        """What it has, for people."""
        if self.board:
            system = f"JetPack {self.jetpack} (L4T {self.l4t})" if self.jetpack else ""
            yield ", ".join(
                filter(None, (self.board, system or (f"L4T {self.l4t}" if self.l4t else "")))
            )
        for found in (self.gpus, self.npus, self.neuron):
            for one in dict.fromkeys(found):
                times = f"{found.count(one)} x " if found.count(one) > 1 else ""
                what = f", compute capability {one.capability}" if one.capability else ""
                yield f"{times}{one.name}{what}"
        if self.gpus and not self.board:
            yield f"NVIDIA's driver {self.driver}" if self.driver else "no driver of NVIDIA's"
        if self.npus:
            yield f"CANN {self.cann}" if self.cann else "no CANN"
        if self.neuron and not self.neuron_driver:
            yield "no driver of AWS Neuron's (aws-neuronx-dkms)"
        yield f"{self.system}{f' with {self.cpu}' if self.cpu else ''}"


def detect(root: Path = Path("/"), machine: str | None = None) -> Machine:
    """What there is below `root`, a machine's files; `machine` as ``uname -m`` says it, this one's if
    None. Raises nothing: what cannot be read is not there."""
    driver, gpus = _nvidia(root)
    board, capability = _jetson(root)
    l4t = _l4t(root) if board else None
    if board:
        gpus = [Accelerator(board, capability)]
    wsl = (root / "usr/lib/wsl/lib/libcuda.so.1").exists()
    if wsl and not gpus:
        gpus = [Accelerator("NVIDIA GPU of Windows's")]
    neuron = _pci(root, _AMAZON, _NEURON)
    npus = _pci(root, _HUAWEI, _NPUS) or [Accelerator("Ascend NPU")] * _count(root, "davinci")
    return Machine(
        system=f"{machine or platform.machine()}-linux",
        gpus=tuple(gpus),
        driver=driver,
        board=board,
        jetpack=_jetpack(l4t),
        l4t=l4t,
        npus=tuple(npus),
        cann=_cann(root) if npus else None,
        neuron=tuple(neuron or [Accelerator("AWS Neuron device")] * _count(root, "neuron")),
        neuron_driver=_count(root, "neuron") > 0,
        wsl=wsl,
        cpu=_cpu(root),
    )


def _nvidia(root: Path) -> tuple[str | None, list[Accelerator]]:
    """The driver's release and the GPUs: by the driver, else as far as the bus knows them."""
    text = _read(root / "proc/driver/nvidia/version")
    found = re.search(
        r"^NVRM version: .{0,120}?\s([0-9]{3}(?:\.[0-9]{1,3}){1,2})\s", text, re.MULTILINE
    )
    names = [
        model[1]
        for file in _entries(root / "proc/driver/nvidia/gpus")
        if (
            model := re.search(
                r"^Model:[ \t]*(\S.{0,200})", _read(file / "information"), re.MULTILINE
            )
        )
    ]
    if names:
        return found and found[1], [_gpu(name) for name in names]
    there = [kind for vendor, kind, _ in _bus(root) if vendor == _NVIDIA]
    gpus = [Accelerator("NVIDIA GPU") for kind in there if kind.startswith(_DISPLAY)]
    return found and found[1], gpus


def _gpu(name: str) -> Accelerator:
    name = printable(name.strip()[:_NAME])
    try:
        return Accelerator(name, device(name).capability)
    except InputError:
        return Accelerator(name)


def _jetson(root: Path) -> tuple[str | None, ComputeCapability | None]:
    """The board's name, and what its GPU can do."""
    kinds = _read(root / "proc/device-tree/compatible").split("\0")
    chips = [kind.removeprefix("nvidia,") for kind in kinds if kind.startswith("nvidia,tegra")]
    if not chips:
        return None, None
    capability = next((_TEGRA[chip] for chip in chips if chip in _TEGRA), None)
    name = _read(root / "proc/device-tree/model").strip("\0\n ")[:_NAME] or "NVIDIA Jetson"
    return printable(name), ComputeCapability.parse(capability) if capability else None


def _l4t(root: Path) -> str | None:
    text = _read(root / "etc/nv_tegra_release")
    found = re.match(r"# R([0-9]{2}) \(release\), REVISION: ([0-9]{1,2}(?:\.[0-9]{1,2})?)\b", text)
    return f"{found[1]}.{found[2]}" if found else None


def _jetpack(l4t: str | None) -> str | None:
    """The newest JetPack whose first L4T is not newer, of the same major release of L4T."""
    try:
        return jetpack_release(l4t).release if l4t else None
    except InputError:
        return None


def _cann(root: Path) -> str | None:
    for place in _CANN:
        for file in sorted((root / place).glob("*/ascend_toolkit_install.info"))[:4]:
            if found := re.search(
                r"^version=([0-9][0-9A-Za-z.]{1,20})$", _read(file), re.MULTILINE
            ):
                return found[1]
    return None


def _cpu(root: Path) -> str:
    """The newest instruction set that vLLM has code for: "AVX-512", "AVX2", "BF16", "Advanced SIMD"."""
    found = re.search(r"^(?:flags|Features)\s*: (.*)$", _read(root / "proc/cpuinfo"), re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    names = {"avx512f": "AVX-512", "avx2": "AVX2", "bf16": "BF16", "asimd": "Advanced SIMD"}
    return next((name for flag, name in names.items() if flag in flags), "")


def _pci(root: Path, vendor: str, names: dict[str, str]) -> list[Accelerator]:
    found = [number for one, _, number in _bus(root) if one == vendor and number in names]
    return [Accelerator(names[number]) for number in found]


def _bus(root: Path) -> Iterator[tuple[str, str, str]]:
    """The vendor, class and device number of what is on the PCI bus."""
    for entry in _entries(root / "sys/bus/pci/devices"):
        vendor, kind, number = (
            _read(entry / name).strip() for name in ("vendor", "class", "device")
        )
        yield vendor, kind, number


def _count(root: Path, name: str) -> int:
    """The devices of a name and a number, such as /dev/neuron0."""
    return sum(
        bool(re.fullmatch(rf"{name}[0-9]{{1,3}}", file.name))
        for file in _entries(root / "dev", 4096)
    )


def _entries(folder: Path, most: int = _DEVICES) -> list[Path]:
    try:
        return sorted(islice(folder.iterdir(), most))
    except OSError:
        return []


def _read(file: Path) -> str:
    try:
        if not file.is_file():  # a pipe would never end
            return ""
        with file.open("rb") as stream:
            return stream.read(_MOST).decode("utf-8", "replace")
    except OSError:
        return ""


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a release, to be compared."""
    return tuple(map(int, re.findall(r"[0-9]+", text)))
