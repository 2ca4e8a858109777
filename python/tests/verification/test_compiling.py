"""What is compiled on first use, and with what."""

import os
from pathlib import Path

import pytest
from made_binaries import elf_file

from verification.cuda import NEEDED, PTXAS, carrier, cuda_torch
from verification.environments import Sample, faults, program
from vllm_nix.verification import verify

OWN = "triton/backends/nvidia/bin/"


def ptxas(*numbers: int) -> str:
    return PTXAS.replace(
        "'compute_80','sm_80','sm_86','sm_87','sm_90','sm_90a'",
        ",".join(f"'sm_{number}'" for number in numbers),
    )


@pytest.fixture
def both(gpu_sample: Sample) -> Sample:
    """Triton 3.6, whose two assemblers are of CUDA 12.9."""
    gpu_sample.uninstall("triton", "3.1.0")
    files = {f"{OWN}ptxas": ptxas(90, 100), f"{OWN}ptxas-blackwell": ptxas(100, 103, 120, 121)}
    gpu_sample.install("triton", "3.6.0", files)
    for name in files:
        (gpu_sample.site / name).chmod(0o755)
    return gpu_sample


def newer(tmp_path: Path) -> str:
    file = tmp_path / "ptxas13"
    file.write_text(ptxas(90, 100, 110, 120, 121))
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("device", "variable", "found"),
    [
        ("11.0", None, "ptxas-blackwell knows architectures up to sm_121, and not sm_110"),
        ("11.0", "TRITON_PTXAS_PATH", "ptxas-blackwell knows"),
        ("11.0", "TRITON_PTXAS_BLACKWELL_PATH", ""),
        ("12.1", None, ""),
        ("12.1", "TRITON_PTXAS_PATH", ""),
        ("9.0", None, ""),
        ("8.9", None, "ptxas knows architectures up to sm_100, and not sm_89"),
        ("8.9", "TRITON_PTXAS_BLACKWELL_PATH", "bin/ptxas: ptxas knows architectures"),
    ],
)
def test_which_ptxas(
    both: Sample,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    variable: str | None,
    found: str,
) -> None:
    if variable:
        monkeypatch.setenv(variable, newer(tmp_path))
    report = verify(both.root, device=device, cuda="13.0", only=["triton"])
    assert found in faults(report).get("triton", "")
    assert bool(faults(report)) == bool(found)
    if found:
        (result,) = report.results
        wanted = "TRITON_PTXAS_BLACKWELL_PATH" if device == "11.0" else "TRITON_PTXAS_PATH"
        assert f"set {wanted} to" in result.findings[0].fix


def test_before_3_6_there_is_one(
    gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_PTXAS_PATH", newer(tmp_path))
    assert faults(verify(gpu_sample.root, device="11.0", cuda="13.0", only=["triton"])) == {}


def test_named_one_that_does_not_start(both: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton takes its own without a word."""
    monkeypatch.setenv("TRITON_PTXAS_PATH", "/nowhere/ptxas")
    found = faults(verify(both.root, device="9.0", cuda="13.0", only=["triton"]))["triton"]
    assert "warning /nowhere/ptxas: TRITON_PTXAS_PATH names what does not start" in found
    assert found.count("\n") == 1


@pytest.mark.parametrize(
    ("device", "is_named", "fix"),
    [
        ("v100", False, "set TRITON_PTXAS_PATH to the ptxas of CUDA 9.0 to 12.9"),
        ("thor", False, "to the ptxas of CUDA 13.0 and newer, or update triton"),
        ("b300", True, "unset TRITON_PTXAS_BLACKWELL_PATH, if Triton's own is newer; or set"),
    ],
)
def test_the_fix_of_an_assembler_is_one_that_helps(
    both: Sample,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    is_named: bool,
    fix: str,
) -> None:
    """A newer CUDA or Triton knows an older device no longer, and what is named is not Triton's."""
    if is_named:
        monkeypatch.setenv("TRITON_PTXAS_BLACKWELL_PATH", newer(tmp_path))
    (result,) = verify(both.root, device=device, only=["triton"]).results
    assert fix in result.findings[0].fix
    assert result.findings[0].fix.endswith("update triton") == (device == "thor")


def test_triton_by_any_name(both: Sample) -> None:
    both.install("triton-nightly", "3.6.0.post20260101", {"triton/__init__.py": ""})
    both.uninstall("triton", "3.6.0")
    found = faults(verify(both.root, device="thor", only=["triton"]))["triton"]
    assert "and not sm_110" in found


def test_triton_by_its_other_name(gpu_sample: Sample) -> None:
    """PyTorch's nightly builds call it pytorch-triton."""
    gpu_sample.uninstall("triton", "3.1.0")
    gpu_sample.install("pytorch-triton", "3.5.0+git7416ffcb", {f"{OWN}ptxas": ptxas(90, 100, 120)})
    (gpu_sample.site / f"{OWN}ptxas").chmod(0o755)
    report = verify(gpu_sample.root, device="gb10", cuda="13.0", only=["triton", "compilers"])
    assert "ptxas knows architectures up to sm_120" in faults(report)["triton"]
    compilers = report.results[1].findings[0]
    assert "Triton" in compilers.found


def test_without_ptxas_blackwell(both: Sample) -> None:
    (both.site / f"{OWN}ptxas-blackwell").unlink()
    found = faults(verify(both.root, device="12.0", cuda="13.0", only=["triton"]))["triton"]
    assert "Triton has no ptxas-blackwell" in found


@pytest.fixture
def only_flashinfer(gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sample:
    """FlashInfer's are the only kernels of attention, and PATH has no nvcc."""
    for file in (gpu_sample.site / "vllm/vllm_flash_attn").iterdir():
        file.unlink()
    gpu_sample.install("flashinfer-python", "0.6.14", {"flashinfer/__init__.py": ""})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    program(tmp_path / "bin", "ninja", "")
    return gpu_sample


def attention(sample: Sample) -> str:
    report = verify(sample.root, device="9.0", cuda="13.0", only=["attention"])
    return faults(report).get("attention", "")


def test_flashinfer_alone_needs_nvcc(only_flashinfer: Sample, tmp_path: Path) -> None:
    assert "cannot compile them: nvcc is not found" in attention(only_flashinfer)
    program(
        tmp_path / "cuda/bin", "nvcc", "echo 'fatal error: cuda_runtime.h: No such' >&2; exit 1"
    )
    assert "fatal error: cuda_runtime.h" in attention(only_flashinfer)
    writes = 'while [ $# -gt 1 ]; do [ "$1" != -o ] || : > "$2"; shift; done'
    program(tmp_path / "cuda/bin", "nvcc", writes)
    assert "is not on PATH, where this vLLM looks for it" in attention(only_flashinfer)
    (only_flashinfer.site / "vllm/utils").mkdir()
    (only_flashinfer.site / "vllm/utils/flashinfer.py").write_text("environ.get('CUDA_HOME')")
    assert attention(only_flashinfer) == ""
    (tmp_path / "bin/ninja").unlink()
    assert "ninja is not found" in attention(only_flashinfer)
    only_flashinfer.install("flashinfer-jit-cache", "0.6.14+cu130")
    assert attention(only_flashinfer) == ""
    sampling = {"flashinfer_jit_cache/jit_cache/sampling/sampling.so": carrier([("cubin", 90)])}
    only_flashinfer.install("flashinfer-jit-cache", "0.6.14+sm90", sampling)
    assert "ninja is not found" in attention(only_flashinfer)


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        (
            "error: #error -- unsupported GNU version! gcc versions later than 12 are not supported!",
            "g++-12",
        ),
        ("sh: 1: cicc: not found", "install CUDA's toolkit whole"),
        ("nvcc fatal   : Unsupported gpu architecture 'sm_90'", "whose nvcc knows sm_90"),
    ],
)
def test_an_nvcc_that_fails_has_the_fix_of_its_message(
    only_flashinfer: Sample, tmp_path: Path, said: str, fix: str
) -> None:
    """It is asked to compile for the device."""
    script = f'case "$*" in *" -arch=sm_90 "*) echo "{said}" >&2;; esac; exit 1'
    program(tmp_path / "cuda/bin", "nvcc", script)
    report = verify(only_flashinfer.root, device="9.0", cuda="13.0", only=["attention"])
    (finding,) = report.results[0].findings
    assert said in finding.found
    assert fix in finding.fix


def test_a_compiler_that_is_named_and_does_not_start(
    gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/nowhere/gcc")
    report = verify(gpu_sample.root, only=["compilers"])
    assert "does not start" in faults(report)["compilers"]
    assert report.results[0].findings[0].fix.endswith("or unset CC, which names /nowhere/gcc")


def test_flashinfer_beside_others_needs_no_nvcc(
    gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_sample.install("flashinfer-python", "0.6.14", {"flashinfer/__init__.py": ""})
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    report = verify(gpu_sample.root, device="8.7", cuda="12.6", only=["attention"])
    assert faults(report) == {}


@pytest.mark.parametrize(
    ("name", "version", "is_found"),
    [
        ("flashinfer-cubin", "0.6.13", True),
        ("flashinfer-cubin", "0.6.14", False),
        ("flashinfer-jit-cache", "0.6.14+cu130", False),
        ("flashinfer-jit-cache", "0.6.13+cu130", True),
    ],
)
def test_flashinfers_pieces(
    gpu_sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    version: str,
    is_found: bool,
) -> None:
    gpu_sample.install("flashinfer-python", "0.6.14", {"flashinfer/__init__.py": ""})
    gpu_sample.install(name, version)
    report = verify(gpu_sample.root, device="8.7", cuda="12.6", only=["attention"])
    assert (f"{name} {version} beside flashinfer-python 0.6.14" in str(faults(report))) == is_found
    monkeypatch.setenv("FLASHINFER_DISABLE_VERSION_CHECK", "1")
    report = verify(gpu_sample.root, device="8.7", cuda="12.6", only=["attention"])
    assert faults(report) == {}


@pytest.mark.parametrize(
    ("runtime", "label", "is_found"),
    [
        (b"libcudart.so.12", "cu130", True),
        (b"libcudart.so.12", "cu129", False),
        (b"libcudart.so.13", "cu130", False),
        (b"libcudart.so.13", "cu128", True),
        (b"libcudart.so.13", "sm87", False),
        (b"libc.so.6", "cu130", False),
    ],
)
def test_kernels_for_another_cuda_than_torchs(
    gpu_sample: Sample, runtime: bytes, label: str, is_found: bool
) -> None:
    cuda_torch(gpu_sample, files={"torch/lib/libtorch_cuda.so": elf_file(tags=[(NEEDED, runtime)])})
    gpu_sample.install("flashinfer-python", "0.6.14", {"flashinfer/__init__.py": ""})
    gpu_sample.install("flashinfer-jit-cache", f"0.6.14+{label}")
    report = verify(gpu_sample.root, device="8.7", cuda="12.6", only=["attention"])
    found = str(faults(report))
    assert (f"flashinfer-jit-cache 0.6.14+{label} is for CUDA 1" in found) == is_found
    if is_found:
        torchs = runtime.decode()[-2:]
        assert f"and torch for CUDA {torchs}" in found


def test_flashinfer_that_refuses_its_pieces(gpu_sample: Sample) -> None:
    code = (
        "raise RuntimeError('flashinfer-cubin version (0.6.13) does not match flashinfer version "
        "(0.6.14)')"
    )
    gpu_sample.install("flashinfer-python", "0.6.14", {"flashinfer/__init__.py": code})
    (result,) = verify(gpu_sample.root, only=["imports"]).results
    assert "pip install flashinfer-cubin==0.6.14" in {finding.fix for finding in result.findings}


def test_flashinfer_that_misses_the_device(gpu_sample: Sample) -> None:
    code = "raise RuntimeError('Found no NVIDIA driver on your system.')"
    gpu_sample.install("flashinfer-python", "0.6.14", {"flashinfer/__init__.py": code})
    assert "flashinfer" not in str(faults(verify(gpu_sample.root, only=["imports"])))


def test_compilers(sample: Sample) -> None:
    (result,) = verify(sample.root, only=["compilers"]).results
    assert [finding.found for finding in result.findings] == ["torch's inductor compiles C++"]


@pytest.mark.parametrize(
    ("script", "found", "fix"),
    [
        (None, "does not start: No such file or directory", "apt-get install g++"),
        (
            "echo 'x.cpp:1: fatal error: Python.h: No such file' >&2; exit 1",
            "Python.h",
            "python3-dev",
        ),
        ("echo 'x.cpp:2: fatal error: omp.h: No such file' >&2; exit 1", "omp.h", "libgomp"),
        ("exit 3", "exit status 3", "--enforce-eager"),
    ],
)
def test_cxx_compiler_that_does_not_work(
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    script: str | None,
    found: str,
    fix: str,
) -> None:
    file = program(tmp_path, "g++", script) if script else tmp_path / "absent"
    monkeypatch.setenv("CXX", str(file))
    (result,) = verify(sample.root, only=["compilers"]).results
    assert found in result.findings[0].found
    assert fix in result.findings[0].fix
    assert result.status.name == "FAILED"


def test_no_c_compiler_for_triton(
    gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """This machine lacks the device, so it is a warning."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    (result,) = verify(gpu_sample.root, only=["compilers"]).results
    assert result.findings[0].found == "Triton cannot compile C: Failed to find C compiler"
    assert "apt-get install gcc" in result.findings[0].fix
    assert result.status.name == "WARNING"


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("/usr/bin/ld: cannot find crti.o: No such file or directory", "libc6-dev"),
        ("fatal error: stdlib.h: No such file or directory", "libc6-dev"),
        ("gcc: fatal error: cannot execute 'cc1': posix_spawnp: No such file", "--reinstall gcc"),
        ("/usr/bin/ld: cannot find -lgcc_s: No such file or directory", "--reinstall gcc"),
        ("", "or name a C compiler in CC"),
    ],
)
def test_a_compiler_that_is_not_whole(
    gpu_sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, fix: str
) -> None:
    """What says nothing and writes nothing, as /bin/true, is none."""
    compiler = tmp_path / "cc"
    compiler.write_text(f'#!/bin/sh\n[ -z "{said}" ] || {{ echo "{said}" >&2; exit 1; }}\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    report = verify(gpu_sample.root, only=["compilers"])
    assert (said or "it writes nothing") in faults(report)["compilers"]
    assert fix in report.results[0].findings[0].fix


@pytest.mark.parametrize("version", ["3.6.0rc1", "3.6.0+git1", "3.7.0.dev20260101"])
def test_releases_before_the_release(both: Sample, version: str) -> None:
    both.uninstall("triton", "3.6.0")
    both.install("triton", version, {})
    assert faults(verify(both.root, device="12.1", cuda="13.0", only=["triton"])) == {}


def test_flashinfer_is_not_for_every_device(only_flashinfer: Sample) -> None:
    report = verify(only_flashinfer.root, device="7.0", cuda="12.6", only=["attention"])
    assert (
        "FlashInfer alone has attention kernels, for capability 7.5" in faults(report)["attention"]
    )
    assert report.exit_code == 1


# Where what was compiled is kept. -----------------------------------------------------------------


def compilers(sample: Sample) -> str:
    return faults(verify(sample.root, only=["compilers"])).get("compilers", "")


@pytest.mark.parametrize(
    ("variable", "status"),
    [
        ("TORCHINDUCTOR_CACHE_DIR", "failed"),
        ("VLLM_CACHE_ROOT", "failed"),
        ("XDG_CACHE_HOME", "warning"),  # its user may have another
        ("HOME", "warning"),
    ],
)
def test_a_cache_that_nothing_can_be_written_to(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, status: str
) -> None:
    (tmp_path / "file").touch()
    for name in ("XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert compilers(sample) == ""
    monkeypatch.setenv(variable, str(tmp_path / "file/below"))
    found = compilers(sample)
    assert found.startswith(f"{status} {tmp_path}/file/below")
    assert f"cannot keep there what it compiles: {tmp_path}/file is no folder" in found


def test_a_cache_on_a_disk_that_is_mounted_noexec(
    gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Hardened hosts mount /tmp so, and Docker its tmpfs."""
    asked = os.statvfs

    def noexec(place: Path) -> os.statvfs_result:
        found = list(asked(place))
        if str(place) == str(tmp_path):
            found[8] = os.ST_NOEXEC
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", noexec)
    assert "noexec" not in compilers(gpu_sample)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    assert f"Triton cannot keep there what it compiles: {tmp_path} is mounted noexec" in compilers(
        gpu_sample
    )
    gpu_sample.declare(target="cuda")
    assert compilers(gpu_sample).startswith("failed")


def test_a_nix_build_has_a_home_of_its_own(
    gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert "cannot keep" in compilers(gpu_sample)
    gpu_sample.declare(target="cuda")
    assert "cannot keep" not in compilers(gpu_sample)


def test_a_user_without_a_home(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert compilers(sample) == ""
