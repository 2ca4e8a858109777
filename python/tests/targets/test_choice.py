"""Which target is for a machine, by its files: fakes of each machine, and of hostile ones."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from vllm_nix import cli
from vllm_nix.cli import targets as command
from vllm_nix.targets.choice import Choice, Fit, best, choices
from vllm_nix.targets.detect import Machine, detect

X86 = {"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu avx avx2 avx512f\n"}
ARM = {"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd evtstrm\n"}


def driver(release: str, *models: str) -> dict[str, str]:
    """NVIDIA's, as its kernel module shows itself."""
    version = (
        f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {release}  Sat Oct 12 00:00:00 UTC\n"
    )
    gpus = {
        f"proc/driver/nvidia/gpus/0000:0{index}:00.0/information": f"Model: \t\t {model}\nIRQ:   \t\t 1\n"
        for index, model in enumerate(models)
    }
    return {"proc/driver/nvidia/version": version + "GCC version:  gcc 12\n", **gpus}


def pci(vendor: str, kind: str, number: str) -> dict[str, str]:
    place = "sys/bus/pci/devices/0000:01:00.0"
    return {
        f"{place}/vendor": f"{vendor}\n",
        f"{place}/class": f"{kind}\n",
        f"{place}/device": f"{number}\n",
    }


def orin(l4t: str) -> dict[str, str]:
    release, revision = l4t.split(".", 1)
    return ARM | {
        "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0",
        "etc/nv_tegra_release": f"# R{release} (release), REVISION: {revision}, GCID: 1, BOARD: generic\n",
    }


def cann(release: str) -> dict[str, str]:
    place = "usr/local/Ascend/ascend-toolkit/latest/aarch64-linux/ascend_toolkit_install.info"
    return {place: f"package_name=Ascend-cann-toolkit\nversion={release}\n", "dev/davinci0": ""}


NPU = pci("0x19e5", "0x120000", "0xd802")
# A machine: its kind, its files, the target that is for it, and how that fits.
MACHINES: Mapping[str, tuple[str, dict[str, str], str | None, Fit]] = {
    "nothing": ("x86_64", X86, "cpu", Fit.YES),
    "two A6000": ("x86_64", X86 | driver("580.95.05", *["NVIDIA RTX A6000"] * 2), "cuda", Fit.YES),
    "old driver": ("x86_64", X86 | driver("535.183.01", "NVIDIA RTX A6000"), "cuda_12", Fit.YES),
    "4090": ("x86_64", X86 | driver("580.95.05", "NVIDIA GeForce RTX 4090"), "cuda", Fit.ALMOST),
    "no driver": ("x86_64", X86 | pci("0x10de", "0x030000", "0x2230"), "cuda", Fit.ALMOST),
    "WSL": ("x86_64", X86 | {"usr/lib/wsl/lib/libcuda.so.1": ""}, "cuda", Fit.ALMOST),
    "sound card": ("x86_64", X86 | pci("0x10de", "0x040300", "0x1aef"), "cpu", Fit.YES),
    "JetPack 6.1": ("aarch64", orin("36.4.0"), "jetson_0_13", Fit.YES),
    "JetPack 6.2": ("aarch64", orin("36.4.3"), "jetson_0_13", Fit.YES),
    "JetPack 7.2": ("aarch64", orin("39.2.0"), "jetson_7", Fit.YES),
    "JetPack 6.0": ("aarch64", orin("36.3.0"), "jetson_7", Fit.ALMOST),
    "910B": ("aarch64", ARM | NPU | cann("8.5.1"), "ascend_0_18", Fit.YES),
    "910B, old CANN": ("aarch64", ARM | NPU | cann("8.1.RC1"), "ascend", Fit.YES),
    "910B, new CANN": ("aarch64", ARM | NPU | cann("9.1.0"), "ascend_0_23", Fit.YES),
    "910B, no CANN": ("aarch64", ARM | NPU, "ascend_0_18", Fit.ALMOST),
    "inf2": (
        "x86_64",
        X86 | pci("0x1d0f", "0x088000", "0x7264") | {"dev/neuron0": ""},
        "neuron_0_7",
        Fit.YES,
    ),
    "trn1, no driver": (
        "x86_64",
        X86 | pci("0x1d0f", "0x088000", "0x7164"),
        "neuron_0_7",
        Fit.ALMOST,
    ),
    "trn3": (
        "x86_64",
        X86 | pci("0x1d0f", "0x088000", "0x7564") | {"dev/neuron0": ""},
        "neuron_0_24",
        Fit.YES,
    ),
    "GB10": ("aarch64", ARM | driver("580.95.05", "NVIDIA GB10"), "spark", Fit.YES),
    "GH200": ("aarch64", ARM | driver("580.95.05", "NVIDIA GH200 480GB"), "cuda", Fit.ALMOST),
    "Graviton 3": (
        "aarch64",
        {"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n"},
        "cpu",
        Fit.YES,
    ),
    "Graviton 2": ("aarch64", ARM, None, Fit.NO),
}


def fake(root: Path, files: Mapping[str, str], kind: str = "x86_64") -> Machine:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return detect(root, kind)


def found(machine: Machine) -> dict[str, Choice]:
    return {choice.target.name: choice for choice in choices(machine)}


@pytest.mark.parametrize("name", MACHINES)
def test_the_target_of_a_machine(name: str, tmp_path: Path) -> None:
    kind, files, target, fit = MACHINES[name]
    chosen = best(choices(fake(tmp_path, files, kind)))
    if target is None:
        assert chosen is None
    else:
        assert chosen is not None
        assert (chosen.target.name, chosen.fit) == (target, fit)
        assert bool(chosen.why and chosen.way) == (fit is Fit.ALMOST)


def test_what_it_has_in_words(tmp_path: Path) -> None:
    files = X86 | driver("580.95.05", "NVIDIA RTX A6000", "NVIDIA RTX A6000")
    assert list(fake(tmp_path, files).lines()) == [
        "2 x NVIDIA RTX A6000, compute capability 8.6",
        "NVIDIA's driver 580.95.05",
        "x86_64-linux with AVX-512",
    ]
    board = fake(tmp_path / "board", orin("36.4.4"), "aarch64")
    assert next(board.lines()) == "NVIDIA Jetson AGX Orin Developer Kit, JetPack 6.2 (L4T 36.4.4)"


def test_why_the_others_are_not(tmp_path: Path) -> None:
    old = found(fake(tmp_path / "old", X86 | driver("535.183.01", "NVIDIA RTX A6000")))
    assert old["cuda"].why == "CUDA 13.0 takes driver 580.65.06 or newer; here is 535.183.01"
    assert old["jetson"].fit is Fit.NO
    orin_6 = found(fake(tmp_path / "orin", orin("36.4.3"), "aarch64"))
    assert orin_6["jetson_7"].why == "for JetPack 7.2 with CUDA 13.2; here is 6.2 with 12.6"
    assert orin_6["jetson_7"].way == "install JetPack 7.2"
    other = found(fake(tmp_path / "other", X86 | driver("580.95.05", "NVIDIA GeForce RTX 4090")))
    assert other["cuda_12"].way == (
        "vllmPackages.cuda_12.overrideTarget (target: lib.recursiveUpdate target"
        ' { cuda.capabilities = [ "8.9" ]; })'
    )


def test_a_gb10_is_no_jetson(tmp_path: Path) -> None:
    machine = fake(tmp_path, ARM | driver("580.95.05", "NVIDIA GB10"), "aarch64")
    assert [str(gpu.capability) for gpu in machine.gpus] == ["12.1"]
    assert found(machine)["jetson_7"].why == "for a Jetson"


@pytest.mark.parametrize(
    "text",
    ["", "\0" * 100_000, "x" * (1 << 20), "\x1b[2J", "NVRM version: " + " 5" * 50_000, "é\udcff"],
)
def test_hostile_files(text: str, tmp_path: Path) -> None:
    """A file that says anything is one that says nothing; a name cannot act on the terminal."""
    files = {name: "" for _, each, _, _ in MACHINES.values() for name in each}
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    machine = detect(tmp_path, "x86_64")
    assert (machine.driver, machine.jetpack, machine.cann) == (None, None, None)
    assert choices(machine)
    assert all(line.isprintable() for line in machine.lines())


def test_hostile_names(tmp_path: Path) -> None:
    files = X86 | driver("580.95.05", "NVIDIA \x1b[31mRTX " + "9" * 5000)
    (line, *_) = fake(tmp_path, files).lines()
    assert line.startswith("NVIDIA \\x1b[31mRTX 999")
    assert len(line) < 120


def test_files_that_are_none(tmp_path: Path) -> None:
    """A pipe that nobody writes to, a link to itself, a folder; and a thousand devices."""
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    os.mkfifo(tmp_path / "proc/driver/nvidia/version")
    (tmp_path / "proc/cpuinfo").symlink_to("cpuinfo")
    (tmp_path / "etc/nv_tegra_release").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    for index in range(2000):
        (tmp_path / f"dev/neuron{index}").touch()
    machine = detect(tmp_path, "x86_64")
    assert (machine.driver, machine.cpu, machine.board) == (None, "", None)
    assert len(machine.neuron) == 1000, "three digits at most"


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = fake(tmp_path, X86 | driver("535.183.01", "NVIDIA RTX A6000"))
    monkeypatch.setattr(command, "detect", lambda: machine)
    assert cli.main(["targets"]) == 0
    shown = capsys.readouterr().out
    assert "Your target is cuda_12: " in shown
    assert "\n  vllm-nix fetch cuda_12\n  nix build .#vllm-cuda_12 " in shown
    almost = shown.partition("\nAlmost\n")[2]
    assert almost.startswith(
        "  cuda         CUDA 13.0 takes driver 580.65.06 or newer; here is 535"
    )
