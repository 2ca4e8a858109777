"""A driver that is there and does not start, or is not there at all: what is said of it, and how it
differs from a machine where nothing is missing. The drivers are small libraries, compiled here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from verification.environments import Sample, faults
from verification.test_live import DRIVER, compile_driver, fake
from vllm_nix.verification import Report, verify
from vllm_nix.verification import machine as machine_module
from vllm_nix.verification.report import lines, summary

NVML = "int nvmlInit_v2(void) { return %d; }\n"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the loader looks in for the driver, on a machine without one."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    from vllm_nix.verification.machine import ask_driver

    monkeypatch.setattr("vllm_nix.verification.run.ask_driver", ask_driver)
    folder = tmp_path / "driver"
    folder.mkdir()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("platform.release", lambda: "6.1.0-amd64")
    for name in ("KERNEL_MODULE", "DEVICES", "PCI"):
        monkeypatch.setattr(machine_module, name, tmp_path / name)
    monkeypatch.setattr(machine_module, "DRIVER_FOLDERS", (tmp_path / "gone", tmp_path / "system"))
    return folder


def library(folder: Path, name: str, code: str) -> None:
    (folder / "code.c").write_text(code)
    options = ["-w", "-shared", "-fPIC", "-o", str(folder / name)]
    subprocess.run(["gcc", *options, str(folder / "code.c")], check=True)


def stopped(folder: Path, status: int) -> None:
    library(folder, "libcuda.so.1", f"int cuInit(unsigned flags) {{ return {status}; }}\n")


def found(report: Report) -> tuple[str, str]:
    (result,) = report.results
    (finding,) = result.findings
    return f"{finding.status} {finding.found}", finding.fix


def test_a_driver_that_the_loader_does_not_find(
    gpu_sample: Sample, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Python of Nix's on NixOS, or a container in which no ldconfig has run."""
    folder = tmp_path / "system"
    folder.mkdir()
    (folder / "libcuda.so").touch()  # a toolkit's stub is none
    (result,) = verify(gpu_sample.root, only=["live-device"]).results
    assert result.reason == "no NVIDIA driver here"
    (folder / "libcuda.so.535.216.01").touch()  # nor what a saved image has
    (folder / "libcuda.so.1").touch()
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text == f"warning {folder}/libcuda.so.1 is empty: what is left of a driver"
    assert advice.startswith("start the container with --gpus all")
    (folder / "libcuda.so.1").unlink()
    (folder / "libcuda.so.1").symlink_to("libcuda.so.470.82.01")
    text, _ = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.endswith("is a link to nothing: what is left of a driver")
    (folder / "libcuda.so.1").unlink()
    stopped(folder, 0)
    (folder / "libcuda.so.1").rename(folder / "libcuda.so.580.95.05")
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.endswith("libcuda.so.580.95.05 is there, and the link libcuda.so.1 to it is not")
    subprocess.run(advice.partition("; or ")[2], shell=True, check=True)  # the fix
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert (
        text
        == f"failed the NVIDIA driver's {folder}/libcuda.so.1 is not where this Python's loader looks"
    )
    assert advice.startswith(f"export LD_LIBRARY_PATH={folder}, ")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))  # the fix
    assert "is not where" not in found(verify(gpu_sample.root, only=["live-device"]))[0]


def test_a_container_that_was_started_without_its_device(
    gpu_sample: Sample, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No driver is a reason to skip only where there is no device, either."""
    (result,) = verify(gpu_sample.root, only=["live-device"]).results
    assert (result.reason, result.findings) == ("no NVIDIA driver here", ())

    devices = tmp_path / "DEVICES"
    devices.mkdir()
    (devices / "dxg").touch()
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text == "warning this is WSL, and there is no libcuda.so.1"
    assert "wsl --update" in advice

    card = tmp_path / "PCI" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text == "failed there is an NVIDIA device at PCI 0000:01:00.0, and no driver"

    monkeypatch.setattr("platform.release", lambda: "5.15.148-tegra")
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text == "failed this is a Jetson, and there is no libcuda.so.1"
    assert "--runtime nvidia" in advice

    module = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Thu Oct 19 2023"
    (tmp_path / "KERNEL_MODULE").write_text(f"{module}\n")
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text == "failed the kernel has NVIDIA's module 580.65.06, and there is no libcuda.so.1"
    assert "--gpus all" in advice
    text, _ = found(verify(gpu_sample.root, device="orin", only=["live-device"]))
    assert text.startswith("warning "), "it is another device that was asked for"


@pytest.mark.parametrize("status", [803, 804])
def test_a_compatibility_package_that_does_not_go_with_the_driver(
    gpu_sample: Sample, driver: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    folder = driver / "cuda-13.0/compat"
    folder.mkdir(parents=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    stopped(folder, status)
    _, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert advice.startswith(f"take cuda-compat off LD_LIBRARY_PATH ({folder}/libcuda.so.1)")


@pytest.mark.parametrize(
    ("status", "library"),
    [(803, "cuda-13.0/compat/libcuda.so.580.95.05"), (34, "cuda/lib64/stubs/libcuda.so")],
)
def test_what_the_loaders_cache_has_is_not_taken_off_library_path(
    driver: Path, status: int, library: str
) -> None:
    """gpustack#4678: an image with cuda-compat in /etc/ld.so.conf.d."""
    said = machine_module.broken_driver(status, None, f"/usr/local/{library}").fix
    assert "LD_LIBRARY_PATH" not in said
    assert "/etc/ld.so.conf.d, then ldconfig" in said


@pytest.mark.parametrize(
    ("count", "major", "said"),
    [
        ("-1", 8, "cuDeviceGetCount gives -1 devices"),
        ("2147483647", 8, "cuDeviceGetCount gives 2147483647 devices"),
        ("1", 99123, "cannot be asked: its process answers"),
    ],
)
def test_a_driver_that_answers_what_no_driver_has(
    gpu_sample: Sample, driver: Path, count: str, major: int, said: str
) -> None:
    code = f"""
    int cuInit(unsigned f) {{ return 0; }}
    int cuDriverGetVersion(int *v) {{ *v = 13000; return 0; }}
    int cuDeviceGetCount(int *c) {{ *c = {count}; return 0; }}
    int cuDeviceGet(int *d, int i) {{ *d = i; return 0; }}
    int cuDeviceGetName(char *n, int l, int d) {{ *n = 0; return 0; }}
    int cuDeviceTotalMem_v2(unsigned long *m, int d) {{ *m = 1; return 0; }}
    int cuDeviceGetAttribute(int *v, int a, int d) {{ *v = a == 75 ? {major} : 0; return 0; }}
    """
    library(driver, "libcuda.so.1", code)
    report = verify(gpu_sample.root, only=["live-device"])
    assert said in found(report)[0]
    assert report.exit_code == 1


@pytest.mark.parametrize(
    ("status", "said", "fix"),
    [
        (3, "error 3 (NOT_INITIALIZED)", "modprobe nvidia nvidia-uvm"),
        (34, "error 34 (STUB_LIBRARY)", "take the toolkit's stub off LD_LIBRARY_PATH: {folder}"),
        (46, "error 46 (DEVICE_UNAVAILABLE)", "nvidia-smi -c DEFAULT"),
        (101, "error 101 (INVALID_DEVICE)", "nvidia-smi -L"),
        (304, "error 304 (OPERATING_SYSTEM)", "seccomp=unconfined"),
        (801, "error 801 (NOT_SUPPORTED)", "enable_uvm=1"),
        (802, "error 802 (SYSTEM_NOT_READY)", "nvidia-fabricmanager"),
        (803, "error 803 (SYSTEM_DRIVER_MISMATCH)", "reboot"),
        (804, "error 804 (COMPAT_NOT_SUPPORTED_ON_DEVICE)", "cuda-compat off"),
        (999, "error 999 (UNKNOWN)", "modprobe nvidia-uvm"),
        (12345, "error 12345", "dmesg"),
    ],
)
def test_by_the_number_that_it_gives(
    gpu_sample: Sample, driver: Path, status: int, said: str, fix: str
) -> None:
    stopped(driver, status)
    report = verify(gpu_sample.root, only=["live-device"])
    text, advice = found(report)
    assert text == f"failed the NVIDIA driver does not start: cuInit gives {said}"
    assert fix.format(folder=driver) in advice
    assert report.exit_code == 1


def test_no_device_is_a_fault_only_where_there_is_a_device(
    gpu_sample: Sample, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(driver, 100)
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.startswith("warning ")
    assert "--gpus all" in advice

    card = tmp_path / "PCI" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x0c0330\n")  # a USB controller on a card of NVIDIA's
    assert found(verify(gpu_sample.root, only=["live-device"]))[0].startswith("warning ")
    (card / "class").write_text("0x030200\n")
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.startswith("failed ")
    assert "0000:01:00.0" in text

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.startswith("warning ")
    assert "CUDA_VISIBLE_DEVICES is ''" in text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert found(verify(gpu_sample.root, only=["live-device"]))[0].startswith("failed ")


@pytest.mark.parametrize("status", [100, 999])
def test_a_jetson_has_other_modules(
    gpu_sample: Sample,
    driver: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """jetson-containers#384: nvidia-uvm is of no use there."""
    monkeypatch.setattr("platform.release", lambda: "5.15.148-tegra")
    stopped(driver, status)
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.endswith(f"there is no {tmp_path}/DEVICES/nvmap")
    assert advice == "start the container with --runtime nvidia"
    (tmp_path / "DEVICES").mkdir()
    (tmp_path / "DEVICES" / "nvmap").touch()
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.startswith("failed ")
    assert "usermod -aG video,render" in advice
    assert "modprobe" not in advice


def test_a_driver_that_counts_no_device(gpu_sample: Sample, driver: Path) -> None:
    compile_driver(driver, count=0)
    text, _ = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.startswith("warning the NVIDIA driver starts, and has no device")


def test_two_releases(gpu_sample: Sample, driver: Path, tmp_path: Path) -> None:
    stopped(driver, 999)
    (driver / "libcuda.so.1").rename(driver / "libcuda.so.580.65.06")
    (driver / "libcuda.so.1").symlink_to("libcuda.so.580.65.06")
    module = (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023"
    )
    (tmp_path / "KERNEL_MODULE").write_text(f"{module}\nGCC version: gcc version 12.2.0\n")
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert "libcuda is of 580.65.06, the kernel module of 535.129.03" in text
    assert advice.startswith("reboot")


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build",
        "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.65.06  Release Build  (d@h)",
    ],
)
def test_the_same_release_is_no_cause(
    gpu_sample: Sample, driver: Path, tmp_path: Path, line: str
) -> None:
    stopped(driver, 999)
    (driver / "libcuda.so.1").rename(driver / "libcuda.so.580.65.06")
    (driver / "libcuda.so.1").symlink_to("libcuda.so.580.65.06")
    (tmp_path / "KERNEL_MODULE").write_text(f"{line}\n")
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert "of 580.65.06, the kernel module of 580.65.06" in text
    assert "nvidia-uvm" in advice


def test_files_that_may_not_be_opened(
    gpu_sample: Sample, driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(driver, 100)
    device = tmp_path / "DEVICES" / "nvidia0"
    device.parent.mkdir()
    device.touch()
    assert "there is" in found(verify(gpu_sample.root, only=["live-device"]))[0]
    real = os.access
    monkeypatch.setattr(os, "access", lambda file, mode: file != device and real(file, mode))
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.endswith(f"{device} may not be opened")
    assert str(device) in advice


def test_a_container_without_nvidia_uvm(gpu_sample: Sample, driver: Path, tmp_path: Path) -> None:
    """nvidia-docker#1085: nvidia-smi works there."""
    stopped(driver, 999)
    for name in ("nvidia0", "nvidiactl"):
        (tmp_path / "DEVICES").mkdir(exist_ok=True)
        (tmp_path / "DEVICES" / name).touch()
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert text.endswith(f"there is no {tmp_path}/DEVICES/nvidia-uvm")
    assert advice.startswith("as root on the host: nvidia-modprobe -u")
    (tmp_path / "DEVICES" / "nvidia-uvm").touch()
    assert "there is no" not in found(verify(gpu_sample.root, only=["live-device"]))[0]


def test_nvml_says_that_releases_differ(gpu_sample: Sample, driver: Path) -> None:
    stopped(driver, 999)
    library(driver, "libnvidia-ml.so.1", NVML % 18)
    text, advice = found(verify(gpu_sample.root, only=["live-device"]))
    assert "nvmlInit error 18 (LIB_RM_VERSION_MISMATCH)" in text
    assert advice.startswith("reboot")


def test_nvml_must_start_but_for_a_jetson(gpu_sample: Sample, driver: Path) -> None:
    fake(gpu_sample)
    library(driver, "libnvidia-ml.so.1", NVML % 9)
    compile_driver(driver)
    assert "live-device" not in faults(verify(gpu_sample.root, only=["live-device"]))
    code = DRIVER.replace("? 7", "? 6").replace("INIT", "0").replace("COUNT", "1")
    library(driver, "libcuda.so.1", code.replace("MAJOR", "8"))
    report = verify(gpu_sample.root, only=["live-device"])
    assert "failed : NVML does not start: nvmlInit gives error 9" in faults(report)["live-device"]
    (driver / "libnvidia-ml.so.1").unlink()
    report = verify(gpu_sample.root, only=["live-device"])
    assert "warning : there is no libnvidia-ml.so.1" in faults(report)["live-device"]


def release(folder: Path, name: str, number: str) -> None:
    """Gives a library of a driver's a file name with its release, as its installer does."""
    file = folder / f"{name.partition('.so')[0]}.so.{number}"
    (folder / name).rename(file)
    (folder / name).symlink_to(file.name)


@pytest.mark.parametrize(("number", "folder"), [("535.216.01", ""), ("580.95.05", "compat")])
def test_a_driver_of_two_releases_that_starts(
    gpu_sample: Sample,
    driver: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: str,
    folder: str,
) -> None:
    """Its compiler of PTX is first asked for by a library that has no code for the device."""
    fake(gpu_sample)
    jit = "libnvidia-ptxjitcompiler.so.1"
    own = driver / folder
    own.mkdir(exist_ok=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{own}:{driver}")
    compile_driver(own)
    library(own, jit, "int unused;\n")
    library(driver, "libnvidia-ml.so.1", NVML % 0)
    release(driver, "libnvidia-ml.so.1", "535.216.01")
    for name in ("libcuda.so.1", jit):
        release(own, name, number)
    assert "live-device" not in faults(verify(gpu_sample.root, only=["live-device"]))
    (own / jit).unlink()
    library(own, jit, "int unused;\n")
    release(own, jit, "550.54.15")
    said = faults(verify(gpu_sample.root, only=["live-device"]))["live-device"]
    assert f"failed : {own}/libnvidia-ptxjitcompiler.so.550.54.15 is of driver 550.54.15" in said


@pytest.mark.parametrize("code", ["abort()", "for (;;) sleep(1)"])
def test_a_driver_that_breaks_its_process(gpu_sample: Sample, driver: Path, code: str) -> None:
    source = "#include <stdlib.h>\n#include <unistd.h>\nint cuInit(unsigned f) { %s; }\n"
    library(driver, "libcuda.so.1", source % code)
    report = verify(gpu_sample.root, only=["live-device"], limit=2)
    assert "breaks its process" in faults(report)["live-device"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_build_for_the_cpu_does_without(
    sample: Sample, driver: Path, tmp_path: Path, is_there: bool
) -> None:
    (tmp_path / "KERNEL_MODULE").write_text("NVRM version: 580.65.06\n")
    if is_there:
        stopped(driver, 803)
    report = verify(sample.root, only=["live-device", "imports"])
    assert faults(report) == {}
    assert report.undone == ()


def test_what_needs_the_driver_is_not_done(gpu_sample: Sample, driver: Path) -> None:
    stopped(driver, 803)
    report = verify(gpu_sample.root, only=["live-device", "live-nccl", "gpu-code"])
    assert list(faults(report)) == ["live-device"]
    assert [result.id for result in report.undone] == ["gpu-code", "live-nccl"]


def test_no_driver_hides_what_an_environment_for_cuda_needs(gpu_sample: Sample) -> None:
    report = verify(gpu_sample.root, only=["live-device", "live-nccl", "imports"])
    assert report.exit_code == 0
    assert summary(report).splitlines()[1] == (
        "2 checks could not be done here: no NVIDIA driver here"
    )
    assert list(lines(report.results[1])) == ["not done here: no NVIDIA driver here"]
    data = report.to_json()
    assert data["complete"] is False
    reported = {check["id"]: (check["status"], check["harmless"]) for check in data["checks"]}
    assert reported == {
        "live-device": ("skipped", False),
        "live-nccl": ("skipped", False),
        "imports": ("ok", None),
    }


def test_no_driver_hides_nothing_of_one_for_the_cpu(sample: Sample) -> None:
    report = verify(sample.root, only=["live-device", "gpu-code", "imports"])
    assert report.to_json()["complete"] is True
    assert "\n" not in summary(report)
    assert [result.harmless for result in report.results] == [True, True, True]


def test_what_stands_on_a_module_that_does_not_import_is_not_done(sample: Sample) -> None:
    (sample.site / "torch" / "__init__.py").write_text("raise ImportError('no')")
    report = verify(sample.root, only=["imports", "torch-build"])
    assert [result.id for result in report.undone] == ["torch-build"]
