"""Drivers that are older than the CUDA that an environment is built for: asked for from afar, and here."""

from pathlib import Path

import pytest
from made_binaries import elf_file

from verification.cuda import TORCH, carrier, cuda_torch
from verification.environments import Sample, faults
from vllm_nix.gpu.device import first_driver, jetpack_release, rules
from vllm_nix.verification import verify
from vllm_nix.verification.machine import Driver, Gpu

NEEDED = 1
ONLY = ("torch-build", "ptx")


def torch_for(sample: Sample, cuda: str) -> None:
    cuda_torch(sample, TORCH.replace('cuda = "12.6"', f'cuda = "{cuda}"'))


def needs(name: str) -> bytes:
    return elf_file(tags=[(NEEDED, name.encode())])


@pytest.mark.parametrize(
    ("torch", "driver", "good"),
    [
        ("13.0", "12.8", False),
        ("13.0", "12.9", False),
        ("13.2", "13.0", True),  # minor version compatibility
        ("12.9", "12.4", True),
        ("12.9", "12", True),
        ("12.1", "11.8", False),
        ("11.8", "12.8", True),
        ("12.6", "13.5", True),
    ],
)
def test_torchs_major_release(gpu_sample: Sample, torch: str, driver: str, good: bool) -> None:
    torch_for(gpu_sample, torch)
    report = verify(gpu_sample.root, device="a6000", cuda=driver, only=["torch-build"])
    assert (faults(report) == {}) is good
    assert report.exit_code == (0 if good else 1)


def test_it_is_named_with_what_to_do(gpu_sample: Sample) -> None:
    torch_for(gpu_sample, "13.0")
    report = verify(gpu_sample.root, device="h100", cuda="12.8", only=["torch-build"])
    assert faults(report)["torch-build"] == (
        "failed : built for CUDA 13.0; a driver for CUDA 12.8 runs up to 12 "
        "(expected CUDA 12 or older, for h100 (9.0) with CUDA 12.8)\n"
    )
    fix = report.results[0].findings[0].fix
    assert "580.65.06 or newer" in fix
    assert "cuda-compat-13-" in fix
    assert "target cuda_12" in fix


@pytest.mark.parametrize(
    ("device", "cuda", "fix"),
    [
        (
            "rtx5090",
            "12.8",
            "or take a build for CUDA 12, of those that compile for the device: 12.8",
        ),
        ("gb10", "12.8", None),  # no CUDA that this driver runs knows the device
    ],
)
def test_a_build_for_an_older_cuda_knows_the_device(
    gpu_sample: Sample, device: str, cuda: str, fix: str | None
) -> None:
    torch_for(gpu_sample, "13.0")
    report = verify(gpu_sample.root, device=device, cuda=cuda, only=["torch-build"])
    advice = report.results[0].findings[0].fix
    assert "cuda_12" not in advice, "its 12.6 compiles for neither"
    assert fix in advice if fix else "take a build" not in advice


def test_a_jetson_has_a_compatibility_package_of_its_own(gpu_sample: Sample) -> None:
    torch_for(gpu_sample, "12.2")
    report = verify(gpu_sample.root, device="orin", jetpack="5.1", only=["torch-build"])
    assert "install JetPack's cuda-compat (12.2)" in report.results[0].findings[0].fix
    torch_for(gpu_sample, "13.0")
    report = verify(gpu_sample.root, device="orin", jetpack="6.2", only=["torch-build"])
    fix = report.results[0].findings[0].fix
    assert fix == "take a JetPack with CUDA 13; or take a build for CUDA 12"
    assert jetpack_release("6.2").cuda_compat == "12.9"
    report = verify(gpu_sample.root, device="orin", jetpack="7.2", only=["torch-build"])
    assert faults(report) == {}


def test_libraries_by_what_they_need(gpu_sample: Sample) -> None:
    """Files say so, without Python: those of torch and vLLM are a fault, others a warning."""
    gpu_sample.install("vllm", "0.7.3", {"vllm/_C.abi3.so": needs("libcudart.so.13")})
    gpu_sample.install("extra", "1", {"extra/x.so": needs("libcublas.so.13")})
    report = verify(gpu_sample.root, device="a6000", cuda="12.8", only=ONLY, files_only=True)
    assert faults(report)["ptx"].splitlines() == [
        (
            "failed vllm/_C.abi3.so: needs CUDA 13; a driver for CUDA 12.8 runs up to 12 "
            "(expected CUDA 12 or older, for a6000 (8.6) with CUDA 12.8)"
        ),
        (
            "warning extra/x.so: needs CUDA 13; a driver for CUDA 12.8 runs up to 12 "
            "(expected CUDA 12 or older, for a6000 (8.6) with CUDA 12.8)"
        ),
    ]
    report = verify(gpu_sample.root, device="a6000", cuda="13.0", only=ONLY, files_only=True)
    assert faults(report) == {}


def test_numbers_that_are_no_release_of_cuda(gpu_sample: Sample) -> None:
    """cuFFT and cuSOLVER have numbers of their own; a runtime of CUDA 12 is older than 13."""
    files: dict[str, str | bytes] = {
        f"torch/lib/{index}.so": needs(name)
        for index, name in enumerate(("libcufft.so.13", "libcudart.so.12", "libcudart.so.11.0"))
    }
    gpu_sample.install("extra", "1", files)
    report = verify(gpu_sample.root, device="a6000", cuda="12.8", only=["ptx"])
    assert faults(report) == {}


def test_wheels_of_nvidias(gpu_sample: Sample) -> None:
    gpu_sample.install("nvidia-cuda-runtime", "13.0.48")
    found = faults(verify(gpu_sample.root, device="a6000", cuda="12.8", only=["ptx"]))["ptx"]
    assert found.startswith("warning nvidia-cuda-runtime: needs CUDA 13;")
    gpu_sample.install("torch", "2.5.1", requires=("nvidia-cuda-runtime==13.0.48",))
    found = faults(verify(gpu_sample.root, device="a6000", cuda="12.8", only=["ptx"]))["ptx"]
    assert found.startswith("failed nvidia-cuda-runtime: needs CUDA 13;")


def test_a_label(gpu_sample: Sample) -> None:
    gpu_sample.uninstall("vllm", "0.7.3")
    gpu_sample.install("vllm", "0.20.0+cu130")
    found = faults(verify(gpu_sample.root, device="a6000", cuda="12.8", only=["ptx"]))["ptx"]
    assert found.startswith("failed vllm: needs CUDA 13;")


def test_ptx_needs_its_own_releases_driver(gpu_sample: Sample) -> None:
    gpu_sample.install("extra", "1", {"extra/k.so": carrier([("ptx", 80, (8, 7))])})
    report = verify(gpu_sample.root, device="a6000", cuda="12.6", only=["ptx"])
    assert "PTX 8.7 is too new" in faults(report)["ptx"]
    assert "570.26 or newer" in report.results[0].findings[0].fix
    assert faults(verify(gpu_sample.root, device="a6000", cuda="12.8", only=["ptx"])) == {}


@pytest.mark.parametrize(("version", "good"), [("12.8", False), ("13.0", True)])
def test_the_driver_of_this_machine(
    gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    """Of a target's environment, too, whose devices are judged as its toolkit has them; not where
    it was asked about another machine."""
    driver = Driver(version, (Gpu("RTX A6000", "8.6", False, 48 << 30),), 0)
    monkeypatch.setattr("vllm_nix.verification.run.ask_driver", lambda _: driver)
    torch_for(gpu_sample, "13.0")
    assert (faults(verify(gpu_sample.root, only=["torch-build"])) == {}) is good
    gpu_sample.declare(
        parameters={
            "torch": {"version": "2.5.1", "from": "wheel"},
            "cuda": {"toolkit": "13.0", "capabilities": ["8.6"]},
        }
    )
    found = faults(verify(gpu_sample.root, only=["torch-build"]))
    assert ("for this machine" in found.get("torch-build", "")) is not good
    found = faults(verify(gpu_sample.root, device="a6000", cuda="13.0", only=["torch-build"]))
    assert found == {}


def test_a_build_for_the_cpu_needs_no_driver(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver("11.8", (Gpu("A100", "8.0", False, 40 << 30),), 0)
    monkeypatch.setattr("vllm_nix.verification.run.ask_driver", lambda _: driver)
    sample.install("extra", "1", {"extra/x.so": needs("libcudart.so.13")})
    assert faults(verify(sample.root, only=ONLY)) == {}


def test_table_of_drivers() -> None:
    """Newer releases have newer drivers, and each that has one has a PTX ISA as well."""
    drivers = rules()["driver"]
    numbers = [tuple(map(int, driver.split("."))) for driver in drivers.values()]
    assert numbers == sorted(numbers)
    assert drivers.keys() <= rules()["ptx-isa"].keys()
    assert first_driver("13.0") == "580.65.06"
    assert first_driver("99.0") is None


def test_path_is_not_needed(tmp_path: Path, gpu_sample: Sample) -> None:
    """A folder of packages alone is judged as well."""
    bare = tmp_path / "site-packages"
    gpu_sample.install("vllm", "0.7.3", {"vllm/_C.abi3.so": needs("libcudart.so.13")})
    gpu_sample.site.rename(bare)
    found = faults(verify(bare, device="a6000", cuda="12.8", only=["ptx"]))
    assert found["ptx"].startswith("failed vllm/_C.abi3.so: needs CUDA 13")
