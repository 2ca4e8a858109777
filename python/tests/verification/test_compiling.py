"""What is compiled on first use, and with what."""

from pathlib import Path

import pytest

from verification.cuda import PTXAS
from verification.environments import Sample, faults
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


def test_without_ptxas_blackwell(both: Sample) -> None:
    (both.site / f"{OWN}ptxas-blackwell").unlink()
    found = faults(verify(both.root, device="12.0", cuda="13.0", only=["triton"]))["triton"]
    assert "Triton has no ptxas-blackwell" in found
