"""FlashInfer's kernels: which are there, and which will be compiled."""

from pathlib import Path

import pytest

from verification.cuda import carrier
from verification.environments import Sample, faults, program
from vllm_nix.verification import verify

SAMPLING = "flashinfer_jit_cache/jit_cache/sampling/sampling.so"
BF16 = (
    "batch_prefill_with_kv_cache_dtype_q_bf16_dtype_kv_{}_dtype_o_bf16_head_dim_qk_128_f16qk_False"
)
ENVS = "if TYPE_CHECKING:\n    VLLM_USE_FLASHINFER_SAMPLER: bool = True\n"
LATE = "sampling is compiled at first use"


def messages(sample: Sample, device: str = "8.6") -> list[str]:
    (result,) = verify(sample.root, device=device, cuda="13.0", only=["kernels"]).results
    prefix = f"{device} with CUDA 13.0: "
    return [finding.found.removeprefix(prefix) for finding in result.findings] or [result.reason]


# An nvcc that writes what it is asked for.
NVCC = """echo "Cuda compilation tools, release {release}, V{release}.88"
while [ $# -gt 1 ]; do [ "$1" != -o ] || : > "$2"; shift; done"""


@pytest.fixture
def flashinfer(gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sample:
    program(tmp_path / "cuda/bin", "nvcc", NVCC.format(release="13.0"))
    program(tmp_path / "bin", "ninja", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (gpu_sample.site / "vllm/envs.py").write_text(ENVS)
    gpu_sample.install("flashinfer-python", "0.7.2", {"flashinfer/__init__.py": ""})
    return gpu_sample


def test_without_flashinfer(gpu_sample: Sample) -> None:
    assert messages(gpu_sample) == ["FlashInfer is not installed, or no vLLM"]


def test_nothing_is_compiled_yet(flashinfer: Sample) -> None:
    (found,) = messages(flashinfer)
    assert found.startswith(LATE)
    assert found.endswith("minutes of one core")


def test_what_is_there_is_not_compiled(flashinfer: Sample) -> None:
    cache = "flashinfer_jit_cache/jit_cache/"
    modules = {
        SAMPLING: carrier([("cubin", 80)]),
        f"{cache}{BF16.format('bf16')}/{BF16.format('bf16')}.so": carrier([("cubin", 86)]),
        f"{cache}{BF16.format('e4m3')}/{BF16.format('e4m3')}.so": carrier([("cubin", 86)]),
    }
    flashinfer.install("flashinfer-jit-cache", "0.7.2+sm86", modules)
    assert messages(flashinfer) == [
        "compiled already: attention bf16 128, attention bf16 e4m3 128, sampling"
    ]


def test_what_is_there_for_a_gh200(flashinfer: Sample) -> None:
    """FA3 beside FA2, and XQA, which decodes."""
    xqa = (
        "xqa_input_bf16_kv_cache_e4m3_output_bf16_page_size_16_head_dim_128_head_group_ratio_4"
        "_use_sliding_window_False_use_spec_dec_False_spec_q_seq_len_1"
    )
    names = ("sampling", BF16.format("bf16"), f"{BF16.format('bf16')}_sm90", xqa)
    cache = "flashinfer_jit_cache/jit_cache/"
    modules = {f"{cache}{name}/{name}.so": carrier([("cubin", 90)]) for name in names}
    flashinfer.install("flashinfer-jit-cache", "0.7.2+sm90", modules)
    there = "attention bf16 128, attention bf16 128 fa3, sampling, xqa bf16 e4m3 128 4"
    assert messages(flashinfer, "9.0") == [f"compiled already: {there}"]


def test_what_is_there_for_another_device_is_compiled_again(flashinfer: Sample) -> None:
    modules = {SAMPLING: carrier([("cubin", 90)])}
    flashinfer.install("flashinfer-jit-cache", "0.7.2+sm90", modules)
    (found,) = messages(flashinfer)
    assert found.startswith(LATE)


@pytest.mark.parametrize("off", ["variable", "release"])
def test_a_vllm_that_does_not_ask(
    flashinfer: Sample, monkeypatch: pytest.MonkeyPatch, off: str
) -> None:
    if off == "variable":
        monkeypatch.setenv("VLLM_USE_FLASHINFER_SAMPLER", "0")
    else:
        (flashinfer.site / "vllm/envs.py").write_text(ENVS.replace("True", "False"))
    assert messages(flashinfer) == ["vLLM asks FlashInfer for none by itself"]


def test_orin_has_too_few_multiprocessors(flashinfer: Sample) -> None:
    assert messages(flashinfer, "8.7")[0].startswith(LATE)
    sampler = flashinfer.site / "vllm/v1/sample/ops/topk_topp_sampler.py"
    sampler.parent.mkdir(parents=True)
    sampler.write_text("if current_platform.num_compute_units(0) <= 16: ...")
    assert messages(flashinfer, "8.7") == ["vLLM asks FlashInfer for none by itself"]
    assert messages(flashinfer)[0].startswith(LATE)


def test_attention_where_nothing_else_has_it(flashinfer: Sample) -> None:
    for file in (flashinfer.site / "vllm/vllm_flash_attn").iterdir():
        file.unlink()
    assert any("attention is compiled at first use" in found for found in messages(flashinfer))


def test_vllm_prefers_flashinfers_on_a_gb200(flashinfer: Sample) -> None:
    backends = "AttentionBackendEnum.FLASHINFER,\n        AttentionBackendEnum.FLASH_ATTN,\n"
    platform = flashinfer.site / "vllm/platforms/cuda.py"
    platform.parent.mkdir(parents=True, exist_ok=True)
    platform.write_text(f"return [\n        {backends}    ]")
    (attention,) = [found for found in messages(flashinfer, "10.0") if "attention" in found]
    assert "compiled at first use, unless NVIDIA's server answers" in attention
    assert not [found for found in messages(flashinfer) if "attention" in found]
    platform.write_text("return [AttentionBackendEnum.FLASH_ATTN, AttentionBackendEnum.FLASHINFER]")
    assert not [found for found in messages(flashinfer, "10.0") if "attention" in found]


def sampling(sample: Sample, files_only: bool = False) -> str:
    report = verify(sample.root, device="8.6", cuda="13.0", only=["kernels"], files_only=files_only)
    return faults(report).get("kernels", "")


def test_sampling_that_cannot_be_compiled(
    flashinfer: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """vLLM takes it where FlashInfer is installed, and ends at its start."""
    assert sampling(flashinfer) == ""
    (tmp_path / "bin/ninja").unlink()
    assert "cannot be compiled: ninja is not found" in sampling(flashinfer)
    monkeypatch.setenv("CUDA_HOME", f":{tmp_path}/cuda")
    (result,) = verify(flashinfer.root, device="8.6", cuda="13.0", only=["kernels"]).results
    (finding,) = result.findings
    assert f"nvcc is not found in CUDA_HOME, which names :{tmp_path}/cuda" in finding.found
    assert finding.fix.endswith("VLLM_USE_FLASHINFER_SAMPLER=0, to do without")
    assert sampling(flashinfer, files_only=True) == ""
    monkeypatch.setenv("VLLM_USE_FLASHINFER_SAMPLER", "0")
    assert sampling(flashinfer) == ""


def test_a_toolkit_for_another_cuda_than_torchs(flashinfer: Sample, tmp_path: Path) -> None:
    libraries = {"torch/lib/libtorch_cuda.so": carrier([("cubin", 86)], tags=("libcudart.so.12",))}
    flashinfer.install("torch-cuda", "1.0", libraries)
    assert "is of CUDA 13.0, and torch for CUDA 12" in sampling(flashinfer)
    program(tmp_path / "cuda/bin", "nvcc", NVCC.format(release="12.4"))
    assert sampling(flashinfer) == ""
