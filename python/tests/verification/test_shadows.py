"""What goes before an environment's packages where its user starts it."""

from pathlib import Path

import pytest

from verification.environments import Sample, faults
from vllm_nix.verification import verify


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "__init__.py").touch()
    return folder


def found(sample: Sample) -> str:
    return faults(verify(sample.root, only=["interpreter"])).get("interpreter", "")


def test_pythonpath(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = package(tmp_path / "robots", "rclpy")
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{sample.site}:{tmp_path}/gone::relative")
    package(folder, "tests")
    (folder / "__pycache__").mkdir()
    for name in ("tests", "__pycache__"):
        (sample.site / name).mkdir(exist_ok=True)
    (folder / "torch").mkdir()  # a folder without code goes after all others
    (folder / "numpy.libs").mkdir()
    assert found(sample) == ""
    (folder / "safetensors.py").touch()
    assert "which hide its safetensors " in found(sample)
    (folder / "safetensors.py").unlink()
    package(folder, "transformers")
    assert found(sample).startswith(
        f"warning {folder}: before the environment come the folders of PYTHONPATH"
    )
    package(folder, "numpy")
    assert found(sample).startswith(f"failed {folder}: ")
    assert "which hide its numpy, transformers" in found(sample)
    sample.declare()  # a Nix build's launcher lets none in
    assert "PYTHONPATH" not in found(sample)


def test_a_source_tree_that_is_installed_as_editable_hides_nothing(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package(tmp_path / "source", "plugin")
    (sample.site / "plugin").symlink_to(folder / "plugin")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert found(sample) == ""


def test_pythonhome(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    assert "failed /nowhere: with PYTHONHOME, this Python takes" in found(sample)
    sample.declare()  # a Nix build's launcher unsets it
    assert "PYTHONHOME" not in found(sample)


def test_what_pythonpath_alone_has(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As modules of a computing centre (Lmod) bring torch."""
    folder = package(tmp_path / "module", "torch")
    sample.uninstall("torch", "2.13.0+cpu")
    (sample.site / "torch").rename(sample.site / "gone")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert f"warning {folder}: torch of PYTHONPATH: not looked at" in found(sample)


def test_torch_for_the_cpu_beside_vllm_for_cuda(sample: Sample) -> None:
    """As pip leaves it where its index has torch for the CPU alone."""
    from verification.cuda import with_symbols

    assert "torch-build" not in faults(verify(sample.root, only=["torch-build"]))
    sample.install("vllm", "0.32.0", {"vllm/_C.abi3.so": with_symbols(libraries=("libc10.so",))})
    assert "torch-build" not in faults(verify(sample.root, only=["torch-build"]))
    library = with_symbols(libraries=("libc10_cuda.so", "libcudart.so.13"))
    sample.install("vllm", "0.32.0", {"vllm/_C.abi3.so": library})
    said = faults(verify(sample.root, only=["torch-build"]))["torch-build"]
    assert "built for the CPU, and vLLM for CUDA: it needs libc10_cuda.so" in said
