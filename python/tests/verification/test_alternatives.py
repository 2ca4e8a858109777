"""Healthy packages that bring libraries for several CUDAs, torches or FFmpegs, of which one is loaded."""

from pathlib import Path

import pytest
from made_binaries import elf_file

from verification.cuda import Code, carrier, with_symbols
from verification.environments import Sample, faults
from verification.test_loader import cudart, found, library, made, torch_with
from vllm_nix.verification import Report, verify

__all__ = ["made"]
ON_ORIN: list[Code] = [("cubin", 87)]
OTHERS: list[Code] = [("cubin", 80)]


def built_for(sample: Sample, *lines: str) -> None:
    text = "__version__ = '2.8.0+cu128'\n" + "".join(f"{line}\n" for line in lines)
    (sample.site / "torch/version.py").write_text(text)


CUDA = "cuda: Optional[str] = '12.8'"


def needs(*names: str) -> bytes:
    return elf_file(tags=[(1, name.encode()) for name in names])


def bitsandbytes(sample: Sample, own: bytes) -> None:
    files = {
        "cpu": needs("libc.so.6"),
        "cuda118": needs("libcudart.so.11.0"),
        "cuda128": own,
        "cuda130": needs("libcublas.so.19"),
        "rocm64": needs("libhipblas.so.2"),
        "xpu2025": needs("libsycl.so.8"),
    }
    files = {f"bnb/libbnb_{label}.so": data for label, data in files.items()}
    sample.install("bnb", "1", {"bnb/__init__.py": "", **files})


def test_libraries_of_other_toolkits(gpu_sample: Sample) -> None:
    bitsandbytes(gpu_sample, needs("libnowhere.so.1"))
    for all_of_them in ("libhipblas.so.2", "libsycl.so.8", "libcublas.so.19", "libnowhere.so.1"):
        assert all_of_them in found(gpu_sample)
    only = "warning bnb: needs {}, which is nowhere (expected )\n"
    built_for(gpu_sample, CUDA, "hip: Optional[str] = None")
    assert found(gpu_sample) == only.format("libnowhere.so.1")
    built_for(gpu_sample, "cuda: Optional[str] = None", "hip: Optional[str] = '6.4.43482-0f2'")
    assert found(gpu_sample) == only.format("libhipblas.so.2")
    built_for(gpu_sample, "cuda = None")  # for the CPU
    assert found(gpu_sample) == ""
    built_for(gpu_sample, "cuda = '12.9'")  # none is for it
    assert "libcublas.so.19" in found(gpu_sample)
    built_for(gpu_sample, CUDA)
    bitsandbytes(gpu_sample, needs("libc.so.6"))
    assert found(gpu_sample) == ""


def test_their_gpu_code_and_their_driver(gpu_sample: Sample) -> None:
    files = {
        "bnb/cuda118/x.so": carrier(OTHERS),
        "bnb/cuda128/x.so": carrier(ON_ORIN),
        "saver_cu12.so": carrier(ON_ORIN),
        "saver_cu13.so": carrier(OTHERS),
        "saver.so": carrier(OTHERS, tags=("libcudart.so.13",)),
        "bnb/cuda130/x.so": carrier(OTHERS, tags=("libcudart.so.13",)),
    }
    gpu_sample.install("bnb", "1", files)

    def on_orin() -> dict[str, str]:
        checks = ["gpu-code", "ptx"]
        return faults(verify(gpu_sample.root, device="orin", jetpack="6.2", only=checks))

    assert on_orin().keys() == {"gpu-code", "ptx"}
    built_for(gpu_sample, CUDA)
    assert on_orin() == {}


def test_nvidias_wheels_for_either_cuda(gpu_sample: Sample) -> None:
    gpu_sample.install("nvidia-cutlass-dsl-libs-cu13", "4.8")
    report = verify(gpu_sample.root, device="a6000", cuda="12.8", only=["ptx"])
    assert "cutlass-dsl-libs-cu13: needs CUDA 13" in faults(report)["ptx"]
    gpu_sample.install("nvidia-cutlass-dsl-libs-cu12", "4.8")
    assert faults(verify(gpu_sample.root, device="a6000", cuda="12.8", only=["ptx"])) == {}


def test_libraries_for_other_torches(gpu_sample: Sample) -> None:
    own, old = "_ZN3c104warnEv", "_ZN3c104goneEv"
    (gpu_sample.site / "torch/lib/libc10.so").write_bytes(with_symbols(defined=(own,)))
    files = {
        f"ext/libext_torch{release}-cpu.so": with_symbols(needed=(name,), libraries=("libc10.so",))
        for release, name in (("24", old), ("25", old), ("28", own))
    }
    gpu_sample.install("ext", "1", files)
    assert "libext_torch24-cpu.so: needs _ZN3c104gone" in found(gpu_sample, "torch-abi")
    built_for(gpu_sample, CUDA)
    assert found(gpu_sample, "torch-abi") == ""
    two = with_symbols(needed=(old,), libraries=("libc10.so",))
    for place in ("ep_cu12/ep_torch211.so", "ep_cu13/ep_torch213.so"):
        gpu_sample.install("ep", "1", {place: two})
        assert found(gpu_sample, "torch-abi") == ""
    (gpu_sample.site / "torch/version.py").write_text("__version__ = '2.14.0+cu130'\n")
    assert found(gpu_sample, "torch-abi") == ""
    (gpu_sample.site / "torch/version.py").write_text("__version__ = '2.5.0'\n")
    assert found(gpu_sample, "torch-abi").startswith("failed ext/libext_torch25-cpu.so: needs")


def test_plugins_of_a_wheel_that_was_repaired(gpu_sample: Sample) -> None:
    """nixl's own modules have loaded what its plugins need, which have no run path."""
    files = {"nixl.libs/nixl/libplugin_UCX.so": needs("libcommon.so")}
    gpu_sample.install(
        "nixl", "1", {**files, ".nixl.mesonpy.libs/libcommon.so": needs("libc.so.6")}
    )
    assert found(gpu_sample) == ""
    gpu_sample.uninstall("nixl", "1")
    gpu_sample.install("other", "1", files)
    assert "nixl.libs/nixl/libplugin_UCX.so: needs libcommon.so, which it does" in found(gpu_sample)


def test_one_ffmpeg_is_enough(sample: Sample) -> None:
    files = {f"codec/core{n}.so": needs(f"libavutil.so.{n}") for n in (56, 57)}
    sample.install("codec", "1", files)
    assert "codec: needs libavutil.so.56, libavutil.so.57, which are nowhere" in found(sample)
    opens = "import ctypes\nctypes.CDLL('libavutil')\n"
    opened: dict[str, str | bytes] = {
        "codec/__init__.py": opens,
        "codec/core60.so": needs("libavutil.so.60"),
    }
    sample.install("codec-all", "1", opened)
    sample.install("other", "1", {"other/libavutil.so.60": needs("libc.so.6")})
    assert "codec: needs libavutil.so.56" in found(sample), "that one is opened is not certain"
    sample.install("codec-all", "1", {"codec/core60.so": needs("libc.so.6")})
    assert found(sample) == ""
    sample.install("numpy", "2.3.5", {"numpy/a1.so": needs("libx.so.1"), "numpy/a2.so": needs()})
    assert "failed numpy/a1.so: needs libx.so.1" in found(sample), "what every start loads"


def test_a_name_that_no_file_has(gpu_sample: Sample, made: Path) -> None:
    """torchvision's own libz.622bbd06.so.1 calls itself libz.so.1 still: nothing finds it by that."""
    real = library(made / "libzz.so.1")
    renamed = gpu_sample.site / "torchvision.libs/libzz.622bbd06.so.1"
    renamed.parent.mkdir()
    real.rename(renamed)
    library(made / "libzz.so.1")
    library(gpu_sample.site / "nvidia/cudnn/lib/libcudnn.so.9", "int c;\n", made / "libzz.so.1")
    report = verify(gpu_sample.root, only=["elf"], files_only=True)
    assert faults(report) == {}, "it is the host's"
    assert "failed nvidia/cudnn/lib/libcudnn.so.9: needs libzz.so.1, which is nowhere" in found(
        gpu_sample
    )
    renamed.rename(renamed.with_name("libzz.so.1"))
    assert "expected a run path to torchvision.libs, where it lies" in found(gpu_sample)


@pytest.mark.parametrize(("quick", "files_only"), [(False, False), (True, False), (False, True)])
def test_what_torch_loads_counts_without_asking_it(
    gpu_sample: Sample, made: Path, quick: bool, files_only: bool
) -> None:
    """CuPy has no run path, and does not ask for torch; in vLLM it is imported after it."""
    runtime = cudart(gpu_sample, 19, "cu13")
    own = torch_with(gpu_sample, runtime)
    file = library(gpu_sample.site / "cupy/cublas.so", "int c;\n", runtime)
    gpu_sample.install("cupy", "1", {"cupy/cublas.so": file.read_bytes()})

    def report() -> Report:
        return verify(gpu_sample.root, only=["elf"], quick=quick, files_only=files_only)

    assert faults(report()) == {}
    library(own, "int t;\n")
    found = faults(report())["elf"]
    assert "warning cupy/cublas.so: needs libcudart.so.19, which it does not find" in found
    fix = report().results[0].findings[0].fix
    assert fix.endswith(f"or put {runtime.parent} on LD_LIBRARY_PATH")


def test_torchs_own_libraries_are_not_found_by_themselves(gpu_sample: Sample) -> None:
    library = needs("libcudart.so.12")
    (gpu_sample.site / "torch/lib/libc10_cuda.so").write_bytes(library)
    runtime = "nvidia/cuda_runtime/lib/libcudart.so.12"
    gpu_sample.install("nvidia-cuda-runtime-cu12", "12.8", {runtime: needs("libc.so.6")})
    (gpu_sample.site / runtime).unlink()
    report = verify(gpu_sample.root, only=["elf"], quick=True)
    assert "failed torch/lib/libc10_cuda.so: needs libcudart.so.12" in faults(report)["elf"]
    fix = report.results[0].findings[0].fix
    assert fix.startswith("install nvidia-cuda-runtime-cu12 again (pip install")
    assert fix.endswith("==12.8): its libcudart.so.12 is gone or damaged")
