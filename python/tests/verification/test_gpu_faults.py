"""Faults of an environment for NVIDIA GPUs, each found by exactly the right check, without a GPU."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from made_binaries import Part, cubin, elf_file, entry, fatbin_of, shared_library

from verification.cuda import TORCH, Code, carrier, cuda_torch, with_symbols
from verification.environments import DISTRIBUTED, Sample, faults
from vllm_nix.errors import InputError
from vllm_nix.gpu.device import device
from vllm_nix.gpu.slim_tree import slim_path
from vllm_nix.verification import Report, Status, verify

STRING = "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
FAIL = "_ZN3c106detail14torchCheckFailEPKcS2_jRK"


def on_orin(sample: Sample, only: Collection[str] = (), skip: Collection[str] = ()) -> Report:
    """As on an Orin, but for the processor: Python is this machine's."""
    skip = (*skip, "machine")
    return verify(sample.root, device="orin", jetpack="6.2", only=only, skip=skip)


def test_healthy(gpu_sample: Sample) -> None:
    report = on_orin(gpu_sample)
    assert faults(report) == {}
    reported = {result.id: result.reason or result.findings[-1].found for result in report.results}
    assert reported["gpu-code"] == "orin (8.7) with CUDA 12.6: 1 jit, 3 native, 1 dead"
    assert "runs the kernels of vllm" in reported["attention"]
    assert "--gpu-memory-utilization" in reported["memory"]
    assert reported["nccl"] == "NCCL 2.21.5"
    assert reported["token"].startswith("tokens")


@pytest.mark.parametrize(
    ("device", "reported"),
    [("gb10", "shares the host's memory"), ("rtx 5090", "memory of its own")],
)
def test_memory_that_gpu_and_host_share(gpu_sample: Sample, device: str, reported: str) -> None:
    [result] = verify(gpu_sample.root, device=device, cuda="13.0", only=["memory"]).results
    assert reported in (result.reason or result.findings[-1].found)


def test_without_a_device_nothing_is_judged(gpu_sample: Sample) -> None:
    report = verify(gpu_sample.root)
    assert faults(report) == {}
    gpu_code = next(result for result in report.results if result.id == "gpu-code")
    assert gpu_code.status is Status.SKIPPED
    assert "name a device with --for" in gpu_code.reason


def test_flash_attention_3_counts_on_hopper_alone(gpu_sample: Sample) -> None:
    place = "vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so"
    gpu_sample.install("fa3", "1", {place: carrier([("cubin", 80)])})
    assert "gpu-code" not in faults(on_orin(gpu_sample, only=["gpu-code"]))
    reported = on_orin(gpu_sample, only=["gpu-code"]).results[0].findings[-1].found
    assert reported.endswith("1 dead"), "as `archs --for` says"
    found = faults(verify(gpu_sample.root, device="9.0", cuda="12.6", only=["gpu-code"]))
    assert f"{place}: its one fatbin has only sm_80" in found["gpu-code"]


def sm_80_only(sample: Sample) -> None:
    sample.install("extra", "1", {"extra/kernels.so": carrier([("cubin", 80)], [("cubin", 87)])})


def only_for_newer(sample: Sample) -> None:
    files = {"torch/lib/libtorch_cuda.so": carrier([("cubin", 90)])}
    cuda_torch(sample, files=files)


def nccl_for_others(sample: Sample) -> None:
    library = carrier([("cubin", 80), ("cubin", 90)])
    sample.install("nvidia-nccl-cu12", "2.21.5", {"nvidia/nccl/lib/libnccl.so.2": library})


def flash_attention_for_others(sample: Sample) -> None:
    sample.install(
        "fa", "1", {"vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so": carrier([("cubin", 80)])}
    )
    sample.uninstall("fa", "1")
    sample.uninstall("vllm", "0.7.3")
    sample.install("vllm", "0.7.3")


def vllm_for_no_device(sample: Sample) -> None:
    (sample.site / "vllm/_C.abi3.so").unlink()
    sample.uninstall("vllm", "0.7.3")
    sample.install("vllm", "0.7.3")


def new_ptx(sample: Sample) -> None:
    sample.install("extra", "1", {"extra/kernels.so": carrier([("ptx", 80, (9, 0))])})


def cpu_torch(sample: Sample) -> None:
    torch = TORCH.replace('cuda = "12.6"', "cuda = None").replace("2.5.1+cu126", "2.5.1+cpu")
    cuda_torch(sample, torch)


def rocm_torch(sample: Sample) -> None:
    torch = TORCH.replace('cuda = "12.6"', 'cuda, hip = None, "6.4.43482"')
    cuda_torch(sample, torch.replace("2.5.1+cu126", "2.5.1+rocm6.4"))


def stripped_nccl(sample: Sample) -> None:
    cuda_torch(sample, distributed=DISTRIBUTED)


def older_nccl(sample: Sample) -> None:
    """Found before the wheel's, as by LD_LIBRARY_PATH."""
    sample.install("torch", "2.5.1", torchs_files(sample), ("nvidia-nccl-cu12==2.27.5; a=='b'",))
    sample.uninstall("nvidia-nccl-cu12", "2.21.5")
    sample.install("nvidia-nccl-cu12", "2.27.5")


def torchs_files(sample: Sample) -> dict[str, bytes]:
    files = (sample.site / "torch").rglob("*")
    return {str(one.relative_to(sample.site)): one.read_bytes() for one in files if one.is_file()}


def old_ptxas(sample: Sample) -> None:
    script = "#!/bin/sh\necho \"'sm_80','sm_86'\"\n"
    sample.install("triton", "3.1.0", {"triton/backends/nvidia/bin/ptxas": script})


def foreign_ptxas(sample: Sample) -> None:
    sample.install("triton", "3.1.0", {"triton/backends/nvidia/bin/ptxas": "not a program"})


def no_ptxas(sample: Sample) -> None:
    (sample.site / "triton/backends/nvidia/bin/ptxas").unlink()
    sample.install("triton", "3.1.0")


def hollow_xformers(sample: Sample) -> None:
    sample.install("xformers", "0.0.28", {"xformers/__init__.py": ""})


def no_attention(sample: Sample) -> None:
    for name in ("2", "3"):
        (sample.site / f"vllm/vllm_flash_attn/_vllm_fa{name}_C.abi3.so").unlink()
    sample.uninstall("vllm", "0.7.3")
    sample.install("vllm", "0.7.3")


def needs_nvml(sample: Sample) -> None:
    sample.uninstall("vllm", "0.7.3")
    sample.install("vllm", "0.6.4.post1")
    (sample.site / "vllm" / "__init__.py").write_text("__version__ = '0.6.4.post1'")


def other_abi(sample: Sample) -> None:
    own = with_symbols(defined=(f"{FAIL}Ss",))
    cuda_torch(sample, files={"torch/lib/libc10.so": own})
    library = with_symbols(needed=(f"{FAIL}{STRING}",), libraries=("libc10.so",))
    sample.install("flash-attn", "2.5.9", {"flash_attn_2_cuda.so": library})


def other_torch(sample: Sample) -> None:
    own = with_symbols(defined=(f"{FAIL}Ss", "_ZN3c104warnEv"))
    cuda_torch(sample, files={"torch/lib/libc10.so": own})
    library = with_symbols(
        needed=("_ZN3c104warnEv", "_ZN2at4_ops3newEv", "unrelated"), libraries=("libc10.so",)
    )
    sample.install("flash-attn", "2.5.9", {"flash_attn_2_cuda.so": library})


def placeholder_of_a_plugin(sample: Sample) -> None:
    placeholder(sample, "vllm-neuron", "0.1.0")


def placeholder(sample: Sample, name: str = "neuronx-cc", version: str = "1.0.post1") -> None:
    sample.install(name, version, {"neuronx_cc/__init__.py": "raise SystemError"})
    metadata = sample.metadata(name, version) / "METADATA"
    text = f"{metadata.read_text()}\n\nWRONG PACKAGE. Please install from Neuron Repository\n"
    files = {
        "neuronx_cc/__init__.py": "raise SystemError",
        f"{metadata.parent.name}/METADATA": text,
    }
    sample.install(name, version, files)
    metadata.write_text(text)
    lines = (metadata.parent / "RECORD").read_text().splitlines()
    kept = [line for line in lines if "METADATA" not in line]
    (metadata.parent / "RECORD").write_text("\n".join(kept) + "\n")


PLANTS: list[tuple[Callable[[Sample], None], str, str]] = [
    (sm_80_only, "gpu-code", "extra/kernels.so: 1 of 2 fatbins has only sm_80"),
    (
        only_for_newer,
        "gpu-code",
        "torch/lib/libtorch_cuda.so: its one fatbin has code for other",
    ),
    (nccl_for_others, "gpu-code", "nvidia/nccl/lib/libnccl.so.2: its one fatbin has only sm_80"),
    (
        flash_attention_for_others,
        "gpu-code",
        "_vllm_fa2_C.abi3.so: its one fatbin has only sm_80",
    ),
    (vllm_for_no_device, "gpu-code", "vllm: vLLM has no kernels of its own"),
    (new_ptx, "ptx", "extra/kernels.so: its one fatbin has only compute_80; PTX 9.0 is too new"),
    (cpu_torch, "torch-build", "built for the CPU (expected built for CUDA"),
    (rocm_torch, "torch-build", "built for ROCm (expected built for CUDA"),
    (stripped_nccl, "nccl", "torch was built without NCCL"),
    (older_nccl, "nccl", "NCCL 2.21.5 (expected NCCL 2.27.5)"),
    (old_ptxas, "triton", "ptxas knows architectures up to sm_86"),
    (foreign_ptxas, "triton", "does not start"),
    (no_ptxas, "triton", "Triton has no ptxas"),
    (hollow_xformers, "attention", "xformers has no compiled kernels"),
    (no_attention, "attention", "no attention kernels"),
    (needs_nvml, "nvml", "vLLM 0.6.4.post1 asks NVML"),
    (other_abi, "torch-abi", "flash_attn_2_cuda.so: built for C++11 ABI 1"),
    (other_torch, "torch-abi", "flash_attn_2_cuda.so: needs _ZN2at4_ops3newEv (expected"),
    (placeholder_of_a_plugin, "placeholders", 'vllm-neuron: 0.1.0 says "WRONG PACKAGE.'),
    (placeholder, "placeholders", 'neuronx-cc: 1.0.post1 says "WRONG PACKAGE. Please install'),
]


@pytest.mark.parametrize(
    ("plant", "check", "text"), PLANTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_found_by_the_right_check(
    gpu_sample: Sample, plant: Callable[[Sample], None], check: str, text: str
) -> None:
    plant(gpu_sample)
    report = on_orin(gpu_sample, skip=["vllm-version", "token"])
    found = faults(report)
    assert list(found) == [check]
    assert text in found[check]


def test_kernels_that_vllm_does_without(gpu_sample: Sample) -> None:
    """LMCache, CuPy: of them a warning, unless vLLM requires them, or takes them when they are there."""
    code = carrier([("cubin", 80)])
    gpu_sample.install("lmcache", "0.3", {"lmcache/c_ops.so": code, "c_ops.so": code})

    def found() -> str:
        return faults(on_orin(gpu_sample, only=["gpu-code"])).get("gpu-code", "")

    assert found().count("warning ") == 2
    assert "failed" not in found()
    fix = on_orin(gpu_sample, only=["gpu-code"]).results[0].findings[0].fix
    assert fix.endswith("if you use lmcache, without which vLLM and torch do")
    # Directly or not; what only an extra wants is not required.
    gpu_sample.install("torch-extra", "1", requires=("LMCache>=0.1",))
    gpu_sample.install("asking", "1", requires=("torch_extra; python_version > '3'",))
    torch = gpu_sample.metadata("torch", "2.5.1") / "METADATA"
    text = torch.read_text()
    torch.write_text(f"{text}\nRequires-Dist: asking; extra == 'all'\n")
    assert "failed" not in found()
    torch.write_text(f"{text}\nRequires-Dist: asking\n")
    assert found().count("failed ") == 2
    torch.write_text(text)
    gpu_sample.install("flash-attn", "2.8", {"flash_attn_2_cuda.so": code})
    assert "failed flash_attn_2_cuda.so" in found()
    gpu_sample.uninstall("vllm", "0.7.3")
    assert "warning" not in found(), "who knows what it is for"


@pytest.mark.parametrize(
    ("version", "status"), [("0.6.14", "failed"), ("0.7.0", "warning"), ("0.7.2.post1", "warning")]
)
def test_flashinfers_cache_for_another_device(
    gpu_sample: Sample, version: str, status: str
) -> None:
    """From 0.7 on it takes what is for the device, and compiles the rest; before, what is there."""
    gpu_sample.install("flashinfer-python", version)
    place = "flashinfer_jit_cache/jit_cache/sampling/sampling.so"
    gpu_sample.install(
        "flashinfer-jit-cache", f"{version}+cu130", {place: carrier([("cubin", 80)])}
    )
    found = faults(on_orin(gpu_sample, only=["gpu-code"]))["gpu-code"]
    assert found.startswith(f"{status} {place}")


def test_kernels_that_are_spared_hide_no_lack_of_attention(gpu_sample: Sample) -> None:
    """vLLM's own are for newer devices; `gpu-code` only warns of xformers."""
    gpu_sample.install("xformers", "0.0.28", {"xformers/_C.so": carrier([("cubin", 80)])})
    for file in (gpu_sample.site / "vllm/vllm_flash_attn").glob("*.so"):
        file.write_bytes(carrier([("cubin", 90)]))
    report = on_orin(gpu_sample, only=["gpu-code", "attention"])
    assert "failed" not in faults(report)["gpu-code"]
    assert "no kernels of vllm, xformers are for orin" in faults(report)["attention"]


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("torch/lib/libtorch_cuda.so", "failed torch/lib/libtorch_cuda.so: its GPU code"),
        ("vllm/_moe_C.abi3.so", "warning vllm/_moe_C.abi3.so: its GPU code"),
    ],
)
@pytest.mark.parametrize("units", [(7,), (0, 7), (0, 0, 7, 7)], ids=len)
def test_gpu_code_that_cannot_be_read(
    gpu_sample: Sample, place: str, found: str, units: tuple[int, ...]
) -> None:
    """Units whose header has a version that nobody knows, alone or beside good ones."""
    good = fatbin_of(entry(2, 87, cubin(87, "kernel")))
    data = b"".join(good[:4] + bytes([good[4] + more]) + good[5:] for more in units)
    gpu_sample.install("extra", "1", {place: elf_file(Part(".nv_fatbin", data))})
    report = on_orin(gpu_sample, only=["gpu-code", "ptx"])
    assert list(faults(report)) == ["gpu-code"]
    assert faults(report)["gpu-code"].startswith(f"{found} cannot be read: offset 0x")


def test_a_slim_environment(gpu_sample: Sample) -> None:
    """It is good for its device, RECORD and all, and says of another what it was slimmed for."""
    wide = fatbin_of(*(entry(2, sm, cubin(sm, "kernel") + bytes(20_000)) for sm in (80, 87, 90)))
    files = {"vllm/_C.abi3.so": shared_library([wide])}
    gpu_sample.install("vllm", "0.7.3", files)
    slim_path(gpu_sample.root, [device("orin", jetpack="6.2")], gpu_sample.root)
    only = ["gpu-code", "record"]
    assert faults(on_orin(gpu_sample, only=only)) == {}
    found = faults(verify(gpu_sample.root, device="h100", cuda="12.6", only=only))
    assert list(found) == ["gpu-code"]
    assert "vllm/_C.abi3.so: slimmed for 8.7 with CUDA 12.6: the code of" in found["gpu-code"]


def test_few_units_that_run_do_not_make_a_library_good(gpu_sample: Sample) -> None:
    units: list[list[Code]] = [[("cubin", 80)]] * 59
    vllm = carrier(*units, [("cubin", 90)])
    gpu_sample.install("vllm", "0.7.3", {"vllm/_C.abi3.so": vllm})
    found = faults(verify(gpu_sample.root, device="h100", cuda="12.6", only=["gpu-code"]))
    assert "vllm/_C.abi3.so: 59 of 60 fatbins have only sm_80" in found["gpu-code"]


def test_ptx_that_does_not_run_is_not_blamed(gpu_sample: Sample) -> None:
    """It is for the device linker; what is missing is code for the host to launch."""
    sm_80, ptx = (
        fatbin_of(entry(2, 80, cubin(80, "kernel"))),
        fatbin_of(entry(1, 80, version=(9, 0))),
    )
    library = elf_file(Part(".nv_fatbin", sm_80), Part("__nv_relfatbin", ptx))
    gpu_sample.install("vllm", "0.7.3", {"vllm/_C.abi3.so": library})
    only = ["gpu-code", "ptx"]
    found = faults(verify(gpu_sample.root, device="h100", cuda="12.6", only=only))
    assert "vllm/_C.abi3.so: its one fatbin has only sm_80" in found["gpu-code"]
    assert "ptx" not in found


def test_unknown_cuda_release_is_a_warning(gpu_sample: Sample) -> None:
    found = faults(verify(gpu_sample.root, device="orin", only=["gpu-code", "ptx"]))
    assert found["gpu-code"].startswith("warning")
    assert "--jetpack" not in found["gpu-code"]  # that is the fix's to say
    assert list(found) == ["gpu-code"]


def test_vllms_own_libraries_come_first(gpu_sample: Sample) -> None:
    for name in "abcdef":
        gpu_sample.install(name, "1", {f"{name}/kernels.so": carrier([("cubin", 80)])})
    flash_attention_for_others(gpu_sample)
    found = faults(on_orin(gpu_sample, only=["gpu-code"]))["gpu-code"].splitlines()
    assert "_vllm_fa2_C" in found[0]
    assert len(found) == 7


def test_fa2_for_desktop_runs_on_desktop(gpu_sample: Sample) -> None:
    flash_attention_for_others(gpu_sample)
    assert "gpu-code" in faults(on_orin(gpu_sample, only=["gpu-code"]))
    found = faults(verify(gpu_sample.root, device="a6000", cuda="12.6", only=["gpu-code"]))
    assert "fa2" not in found.get("gpu-code", "")


@pytest.mark.parametrize(("jetpack", "count"), [("6.2", 1), ("7.2", 0)])
def test_sbsa(gpu_sample: Sample, jetpack: str, count: int) -> None:
    library = carrier([("cubin", 87)], machine=183)
    files = {"nvidia/cublas/lib/libcublas.so.12": library}
    gpu_sample.install("nvidia-cublas-cu12", "12.6", files)
    found = faults(verify(gpu_sample.root, device="orin", jetpack=jetpack, only=["sbsa"]))
    assert len(found) == count
    assert not count or "nvidia-cublas-cu12: 1 libraries of SBSA" in found["sbsa"]


def test_stubs_for_aarch64_are_none_of_jetsons(gpu_sample: Sample) -> None:
    files = {"cutlass/a.so": carrier([("cubin", 87)]), "cutlass/stubs/b.so": carrier(machine=183)}
    gpu_sample.install("nvidia-cutlass-dsl-libs-cu12", "4.8", files)
    [result] = on_orin(gpu_sample, only=["sbsa"]).results
    assert result.reason == "no library is for aarch64"


def test_an_old_driver_where_flash_attention_3_runs(gpu_sample: Sample) -> None:
    """vLLM 0.10.2 on an H100 and a driver for CUDA 12.4, as many run it."""
    place = "vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so"
    files: dict[str, str | bytes] = {
        "vllm/_C.abi3.so": carrier([("cubin", 89), ("ptx", 89, (8, 7))], [("cubin", 90)]),
        "vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so": carrier([("ptx", 80, (8, 7))]),
        place: carrier([("cubin", 90)]),
        "torch/lib/libtorch_cuda.so": carrier([("cubin", 90)]),
        "nvidia/nccl/lib/libnccl.so.2": carrier([("cubin", 90)]),
    }
    gpu_sample.install("for-hopper", "1", files)

    def report() -> Report:
        checks = ["gpu-code", "ptx", "attention"]
        return verify(gpu_sample.root, device="h100", cuda="12.4", only=checks)

    found = faults(report())
    assert found.keys() == {"ptx"}
    assert found["ptx"].startswith("warning vllm/_C.abi3.so: 1 of 2 fatbins has only sm_89")
    assert "warning vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so: its one fatbin" in found["ptx"]
    assert report().status == "warning"
    gpu_sample.install("for-hopper", "1", {**files, place: carrier([("cubin", 80)])})
    assert "failed vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so" in faults(report())["ptx"]


@pytest.mark.parametrize("has_triton", [True, False])
def test_kernels_that_are_for_other_devices_alone(gpu_sample: Sample, has_triton: bool) -> None:
    """A V100, for which no wheel of vLLM's has attention kernels."""
    files: dict[str, str | bytes] = {
        "vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so": carrier([("cubin", 80)]),
        "vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so": carrier([("cubin", 90)]),
    }
    if has_triton:
        files["vllm/v1/attention/backends/triton_attn.py"] = ""
    gpu_sample.install("for-newer", "1", files)
    found = faults(verify(gpu_sample.root, device="v100", cuda="12.8", only=["attention"]))
    assert found["attention"].startswith("warning" if has_triton else "failed")
    assert "no kernels of vllm are for v100" in found["attention"]


@pytest.mark.parametrize(
    ("device", "takes_xformers", "fix"),
    [
        (
            "t4",
            False,
            "install flashinfer-python in the release that vLLM asks for, or take an older",
        ),
        ("v100", False, "take an older vLLM that has xformers"),
        ("v100", True, "install xformers for this torch"),
    ],
)
def test_attention_that_vllm_takes_and_the_device_runs(
    gpu_sample: Sample, device: str, takes_xformers: bool, fix: str
) -> None:
    files: dict[str, str | bytes] = {
        "vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so": carrier([("cubin", 80)]),
        "vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so": carrier([("cubin", 90)]),
    }
    if takes_xformers:
        files["vllm/attention/backends/xformers.py"] = ""
    gpu_sample.install("for-newer", "1", files)
    (result,) = verify(gpu_sample.root, device=device, cuda="12.8", only=["attention"]).results
    assert result.findings[0].fix.startswith(fix)


def test_files_of_one_device_each(gpu_sample: Sample) -> None:
    """flashinfer-cubin has 10,000: FlashInfer opens that for its device."""
    files: dict[str, str | bytes] = {
        f"cubins/{number}_sm{sm}.cubin": cubin(sm, "kernel")
        for number in range(300)
        for sm in (80, 90)
    }
    gpu_sample.install("flashinfer-cubin", "0.6.8", files)
    assert faults(on_orin(gpu_sample, only=["gpu-code", "ptx"])) == {}


def test_what_has_to_be_asked_for(gpu_sample: Sample) -> None:
    gpu_sample.install("ext", "1", {"nccl/m2n/libnccl_m2n.so": carrier([("cubin", 80)])})
    found = faults(on_orin(gpu_sample, only=["gpu-code"]))
    assert found["gpu-code"].startswith("warning nccl/m2n/libnccl_m2n.so: its one fatbin")


def test_a_symbol_of_torchs_namespaces_from_a_library_beside(gpu_sample: Sample) -> None:
    """A C++ extension in two parts: the one instantiates at:: templates for the other."""
    own, beside = "_ZN3c104warnEv", "_ZN2at4_ops3newEv"
    cuda_torch(gpu_sample, files={"torch/lib/libc10.so": with_symbols(defined=(own,))})
    needs = with_symbols(needed=(own, beside), libraries=("libc10.so", "libpart.so"))
    part = {"extra/lib/libpart.so": with_symbols(defined=(beside,))}
    gpu_sample.install("extra", "1", {"extra/_C.so": needs, **part})
    assert faults(verify(gpu_sample.root, only=["torch-abi"])) == {}
    (gpu_sample.site / "extra/lib/libpart.so").rename(gpu_sample.site / "extra/lib/libother.so")
    found = faults(verify(gpu_sample.root, only=["torch-abi"]))
    assert f"extra/_C.so: needs {beside} (expected" in found["torch-abi"]


def test_sbsa_by_run_path(gpu_sample: Sample) -> None:
    path = b"/usr/local/cuda/targets/sbsa-linux/lib"
    library = elf_file(tags=[(29, path)], machine=183)
    gpu_sample.install(
        "mine", "1", {"mine/ext.so": library, "mine/x.so": elf_file(tags=[], machine=183)}
    )
    found = faults(on_orin(gpu_sample, only=["sbsa"]))
    assert f"mine: 1 libraries of SBSA (run path {path.decode()})" in found["sbsa"]


def jetson(sample: Sample, **torch: object) -> None:
    data = {"version": "2.5.1", "from": "source", "distributed": ["gloo", "nccl"], **torch}
    sample.declare(
        parameters={
            "torch": data,
            "jetpack": {"version": "6.2"},
            "cuda": {"toolkit": "12.6", "capabilities": ["8.7"]},
            "nccl": {"version": "2.21.5-1"},
            "vllm": {"distribution": "vllm", "device": "cuda"},
        }
    )


FLAGS = ("torch-build", "torch-flags", "nccl", "distributed", "gpu-code", "memory")


def test_target(gpu_sample: Sample) -> None:
    off = {"USE_QNNPACK": "0", "USE_PYTORCH_QNNPACK": "0", "USE_NCCL": "1", "USE_DISTRIBUTED": "1"}
    jetson(gpu_sample, env=off)
    report = verify(gpu_sample.root, only=FLAGS)
    assert faults(report) == {}
    assert not any(result.reason for result in report.results)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("-DUSE_QNNPACK", "USE_QNNPACK is on (expected USE_QNNPACK=0)"),
        ("-DUSE_PYTORCH_QNNPACK", "USE_PYTORCH_QNNPACK is on (expected USE_PYTORCH_QNNPACK=0)"),
        ("-O2, USE_MPI=ON, X=", "USE_MPI is on (expected USE_MPI=0)"),
    ],
)
def test_switches(gpu_sample: Sample, flags: str, text: str) -> None:
    jetson(gpu_sample, env={"USE_QNNPACK": "0", "USE_PYTORCH_QNNPACK": "0", "USE_MPI": "0"})
    cuda_torch(gpu_sample, TORCH.replace("-DUSE_KINETO", flags))
    found = faults(verify(gpu_sample.root, only=FLAGS))
    assert list(found) == ["torch-flags"]
    assert text in found["torch-flags"]
    assert found["torch-flags"].count("\n") == 1


def test_other_architectures(gpu_sample: Sample) -> None:
    jetson(gpu_sample)
    cuda_torch(gpu_sample, TORCH.replace("sm_87", "sm_80 sm_90"))
    found = faults(verify(gpu_sample.root, only=FLAGS))
    assert found == {"torch-flags": "failed : compiled for sm_80 sm_90 (expected sm_87)\n"}


@pytest.mark.parametrize(
    ("cuda", "expected"),
    [
        ("12.4", {}),
        ("12.8", {"torch-build": "failed : built for CUDA 12.8 (expected built for CUDA 12.6)\n"}),
        ("11.8", {"torch-build": "failed : built for CUDA 11.8 (expected built for CUDA 12.6)\n"}),
    ],
)
def test_a_wheel_may_be_older_and_for_related_devices(
    gpu_sample: Sample, cuda: str, expected: dict[str, str]
) -> None:
    jetson(gpu_sample, **{"from": "wheel"})
    cuda_torch(gpu_sample, TORCH.replace("sm_87", "sm_80 sm_90").replace('"12.6"', f'"{cuda}"'))
    assert faults(verify(gpu_sample.root, only=("torch-build", "torch-flags"))) == expected


def test_build_number(gpu_sample: Sample) -> None:
    jetson(gpu_sample, **{"build-number": 2})
    found = faults(verify(gpu_sample.root, only=FLAGS))
    assert "expected torch 2.5.1.post2 (the target's)" in found["torch-build"]


def test_other_nccl(gpu_sample: Sample) -> None:
    jetson(gpu_sample)
    cuda_torch(gpu_sample, files={"torch/cuda/nccl.py": "def version(): return (2, 18, 1)\n"})
    found = faults(verify(gpu_sample.root, only=FLAGS))
    assert found == {"nccl": "failed : NCCL 2.18.1 (expected NCCL 2.21.5)\n"}


def test_nccl_of_the_system_is_judged(gpu_sample: Sample, tmp_path: Path) -> None:
    library = tmp_path / "libnccl.so.2.27.7"
    library.write_bytes(carrier([("cubin", 80)]) + b"\0" * 4096)
    code = (
        "import mmap\n"
        f"file = open({str(library)!r}, 'rb')\n"
        "held = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "def version(): return (2, 21, 5)\n"
    )
    cuda_torch(gpu_sample, files={"torch/cuda/nccl.py": code})
    found = faults(on_orin(gpu_sample, only=["nccl", "gpu-code"]))
    assert list(found) == ["nccl"]
    assert f"{library}: its one fatbin has only sm_80" in found["nccl"]


def test_cpu_torch_under_a_target(gpu_sample: Sample) -> None:
    jetson(gpu_sample)
    cpu_torch(gpu_sample)
    found = faults(verify(gpu_sample.root, only=FLAGS))
    assert list(found) == ["torch-build"]
    assert "built for the CPU (expected built for CUDA 12.6)" in found["torch-build"]


def test_no_false_alarm_from_a_real_package_that_mentions_placeholders(sample: Sample) -> None:
    sample.install(
        "big", "1.0", {"big/data.bin": b"x" * 70_000, "big/__init__.py": "wrong package"}
    )
    (sample.metadata("big", "1.0") / "METADATA").write_text(
        "Name: big\nVersion: 1.0\n\nInstalls the wrong package? See the FAQ.\n"
    )
    assert faults(verify(sample.root, only=["placeholders"])) == {}


def test_no_false_alarm_from_a_small_one_either(sample: Sample) -> None:
    text = "Summary: Sentinels\n\nFor defaults.\n\nUse `None` as a placeholder for absent values.\n"
    sample.install("small", "1.0", {"small/__init__.py": ""})
    (sample.metadata("small", "1.0") / "METADATA").write_text(f"Name: small\nVersion: 1.0\n{text}")
    assert faults(verify(sample.root, only=["placeholders"])) == {}


@pytest.mark.parametrize(
    "text", ["Summary: A fake package to warn the user\n", "\n\nAI\nWRONG PACKAGE. Get it there\n"]
)
def test_where_a_placeholder_says_so(sample: Sample, text: str) -> None:
    sample.install("small", "1.0")
    (sample.metadata("small", "1.0") / "METADATA").write_text(f"Name: small\nVersion: 1.0\n{text}")
    assert "small: 1.0 says" in faults(verify(sample.root, only=["placeholders"]))["placeholders"]


@pytest.mark.parametrize(
    ("device", "cuda", "jetpack", "named"),
    [
        ("toaster", None, None, "toaster"),
        ("orin", "soon", None, "soon"),
        ("a6000", None, "6.2", "6.2"),
    ],
)
def test_wrong_device(
    gpu_sample: Sample, device: str, cuda: str | None, jetpack: str | None, named: str
) -> None:
    with pytest.raises(InputError, match=f"'?{named}"):
        verify(gpu_sample.root, device=device, cuda=cuda, jetpack=jetpack)


def test_kernels_for_newer_devices_alone_are_no_fault(gpu_sample: Sample) -> None:
    gpu_sample.install("extra", "1", {"extra/hopper.so": carrier([("cubin", 90)])})
    assert faults(on_orin(gpu_sample, only=["gpu-code"])) == {}


def test_unused_ptx_is_no_fault(gpu_sample: Sample) -> None:
    units = carrier([("cubin", 87), ("ptx", 87, (9, 3))])
    gpu_sample.install("extra", "1", {"extra/kernels.so": units})
    assert faults(on_orin(gpu_sample, only=["gpu-code", "ptx"])) == {}


@pytest.mark.parametrize(
    "words",
    [
        "RuntimeError: Failed to infer device type",
        "vllm: this machine has no libcuda.so.1: install",
    ],
)
def test_vllm_without_a_driver_is_no_fault(gpu_sample: Sample, words: str) -> None:
    command = gpu_sample.root / "bin" / "vllm"
    command.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    [result] = verify(gpu_sample.root, only=["vllm-version"]).results
    assert result.status is Status.SKIPPED
    assert result.reason == "no NVIDIA driver here"


def test_kernels_for_another_python(gpu_sample: Sample) -> None:
    """Which Python passes over, as it does the sources' that were compiled for another."""
    kernels = list((gpu_sample.site / "vllm").glob("**/*.abi3.so"))
    for file in kernels:
        file.rename(file.with_name(file.name.replace("abi3", "cpython-37m-x86_64-linux-gnu")))
    gpu_sample.install("flash-attn", "2.8.3", {"flash_attn_2_cuda.so": carrier([("cubin", 87)])})
    (gpu_sample.site / "flash_attn_2_cuda.so").rename(
        gpu_sample.site / "flash_attn_2_cuda.cpython-37m-x86_64-linux-gnu.so"
    )
    report = verify(gpu_sample.root, device="8.7", cuda="12.6", only=["gpu-code", "attention"])
    found = faults(report)
    assert "vLLM's kernels are for another Python: _C.cpython-37m" in found["gpu-code"]
    assert "no attention kernels" in found["attention"]


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("/nowhere/libnccl.so.2", "names a file that is not there"),
        ("/", "names what is no file"),
        ("libnccl.so.2", ""),  # the loader's to find
    ],
)
def test_an_nccl_that_is_named(
    gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch, named: str, found: str
) -> None:
    monkeypatch.setenv("VLLM_NCCL_SO_PATH", named)
    said = faults(verify(gpu_sample.root, only=["nccl"])).get("nccl", "")
    assert found in said
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        ("ModuleNotFoundError(\"No module named 'PIL'\")", "failed"),
        ("RuntimeError('Failed to infer device type')", "skipped"),
        ("ImportError('libcuda.so.1: cannot open shared object file')", "skipped"),
    ],
)
def test_without_a_driver_what_is_missed_all_the_same(
    gpu_sample: Sample, raised: str, status: str
) -> None:
    code = f"__version__ = '0.7.3'\nSamplingParams = dict\ndef LLM(**options): raise {raised}\n"
    gpu_sample.install("vllm-extra", "1", {"vllm/__init__.py": code})
    (result,) = verify(gpu_sample.root, only=["token"]).results
    assert result.status == status
    assert not result.findings or result.findings[0].fix == "pip install pillow"


def test_the_command_misses_a_module(gpu_sample: Sample) -> None:
    (gpu_sample.root / "bin/vllm").write_text(f"#!{gpu_sample.root}/bin/python\nimport zmq\n")
    (result,) = verify(gpu_sample.root, only=["vllm-version"]).results
    assert result.findings[0].fix == "pip install pyzmq"
