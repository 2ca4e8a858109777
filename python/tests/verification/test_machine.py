"""Environments, or wheels in them, for another machine than the one that is meant."""

import struct
from pathlib import Path

import pytest
from made_binaries import elf_file

from verification.cuda import carrier, cuda_torch
from verification.environments import Sample, faults
from vllm_nix.verification import verify

AARCH64 = 183
HERE = "x86_64"


def other_class(machine: int, bits: int = 1, order: int = 1) -> bytes:
    """The start of a 32-bit or big-endian library."""
    ident = b"\x7fELF" + bytes((bits, order, 1)) + bytes(9)
    return ident + struct.pack("<HH" if order == 1 else ">HH", 3, machine) + bytes(32)


def only(sample: Sample) -> dict[str, str]:
    return faults(verify(sample.root, only=["machine", "elf"]))


def test_environment_of_another_machine(gpu_sample: Sample) -> None:
    """Its first line, for all else follows from it."""
    report = verify(gpu_sample.root, device="orin", jetpack="6.2", skip=["token", "vllm-version"])
    assert list(faults(report)) == ["machine"]
    assert faults(report)["machine"] == (
        "failed : the environment is for x86_64 (expected aarch64, as orin has it)\n"
    )
    assert faults(verify(gpu_sample.root, device="gb10", only=["machine"])) != {}
    assert faults(verify(gpu_sample.root, device="a6000", only=["machine"])) == {}


def test_target_of_another_machine(gpu_sample: Sample) -> None:
    found = faults(verify(gpu_sample.root, "jetson", only=["machine"]))
    assert "expected aarch64, as orin has it" not in found["machine"]
    assert "the environment is for x86_64 (expected aarch64, as" in found["machine"]


def test_packages_for_another_machine(gpu_sample: Sample, tmp_path: Path) -> None:
    """As pip makes them with --target and --platform: the commonest is what they are for."""
    bare = tmp_path / "site-packages"
    gpu_sample.site.rename(bare)
    for file in bare.rglob("*.so*"):
        file.write_bytes(carrier([("cubin", 87)], machine=AARCH64))
    assert faults(verify(bare, device="orin", jetpack="6.2", only=["machine"])) == {}
    (bare / "numpy" / "core.so").write_bytes(elf_file())
    found = faults(verify(bare, device="orin", jetpack="6.2", only=["machine"]))
    assert found["machine"] == (
        "failed numpy: its libraries are for x86_64 (expected aarch64, as the environment)\n"
    )


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("numpy", elf_file(machine=AARCH64), "failed numpy: its libraries are for aarch64"),
        ("extra", elf_file(machine=AARCH64), "warning extra: its libraries are for aarch64"),
        ("extra", other_class(3), "warning extra: its libraries are for i386"),
        ("extra", other_class(21, 2, 2), "warning extra: its libraries are for ppc64le"),
    ],
)
def test_wheel_for_another_machine(sample: Sample, name: str, content: bytes, found: str) -> None:
    sample.install(name, "2.3.5", {f"{name}/__init__.py": "", f"{name}/core.so": content})
    assert found in only(sample)["machine"]


def test_nccl_for_another_machine_beside_nvidias_others(gpu_sample: Sample) -> None:
    """They share a folder. The loader passes it over, on the run path as well as elsewhere."""
    library = carrier([("cubin", 87)], machine=AARCH64)
    gpu_sample.install("nvidia-nccl-cu12", "2.21.5", {"nvidia/nccl/lib/libnccl.so.2": library})
    other = {"nvidia/cublas/lib/libcublas.so.12": carrier([("cubin", 87)])}
    gpu_sample.install("nvidia-cublas-cu12", "12.6", other)
    run_path = (29, b"$ORIGIN/../../nvidia/nccl/lib:$ORIGIN/../../nvidia/cublas/lib")
    needs = [(1, b"libnccl.so.2"), (1, b"libcublas.so.12"), run_path]
    cuda_torch(gpu_sample, files={"torch/lib/libtorch_cuda.so": elf_file(tags=needs)})
    found = only(gpu_sample)
    assert found["machine"] == (
        "failed nvidia-nccl-cu12: its libraries are for aarch64 (expected x86_64, as the environment)\n"
    )
    assert "libtorch_cuda.so: needs libnccl.so.2, which is nowhere" in found["elf"]


def test_others_beside_those_for_this_one(sample: Sample) -> None:
    """As debugpy has them, and code of a GPU."""
    files: dict[str, str | bytes] = {
        "debugger/attach_x86.so": other_class(3),
        "debugger/attach_arm64.so": elf_file(machine=AARCH64),
        "debugger/attach_amd64.so": elf_file(),
        "kernels/gfx90a.co": elf_file(machine=224),
    }
    sample.install("debugger", "1", files)
    assert only(sample) == {}


def test_separate_debug_file(sample: Sample) -> None:
    """Its headers are those of the library that it was taken from, without the contents."""
    library = elf_file(tags=[(1, b"libnowhere.so.1")])
    files: dict[str, str | bytes] = {"extra/core.so.debug": library[: len(library) // 2]}
    sample.install("extra", "1", files)
    assert only(sample) == {}


def test_truncated_library_without_an_interpreter(gpu_sample: Sample, tmp_path: Path) -> None:
    bare = tmp_path / "site-packages"
    gpu_sample.site.rename(bare)
    assert faults(verify(bare, only=["elf"])) == {}
    file = bare / "torch/lib/libtorch_cuda.so"
    file.write_bytes(file.read_bytes()[:200])
    assert "torch/lib/libtorch_cuda.so: " in faults(verify(bare, only=["elf"]))["elf"]


def test_python_of_another_machine(sample: Sample) -> None:
    """It does not start, or an emulator starts it: either way its file says what it is for."""
    for name in ("python", "python3"):
        (sample.root / "bin" / name).unlink()
    python = sample.root / "bin" / "python"
    python.write_bytes(elf_file(machine=243))
    python.chmod(0o755)
    report = verify(sample.root, only=["interpreter", "machine"])
    assert "the environment is for riscv64 (expected x86_64, as this machine)" in faults(
        report
    ).get("machine", "")
    assert report.exit_code == 3


def test_nothing_to_tell_it_by(sample: Sample, tmp_path: Path) -> None:
    bare = tmp_path / "site-packages"
    sample.site.rename(bare)
    (result,) = verify(bare, only=["machine"]).results
    assert result.reason == "no ELF files"
