"""The one table of capabilities, as Nix and Python read it, and how people write devices."""

import json
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_nix.errors import InputError
from vllm_nix.gpu.capability import ComputeCapability, arch_list, known, table
from vllm_nix.gpu.device import Device, cuda_release, device, device_names
from vllm_nix.targets import check_target, load_target

Nix = Callable[..., subprocess.CompletedProcess[str]]
parse = ComputeCapability.parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.7", ComputeCapability(8, 7)),
        ("sm_87", ComputeCapability(8, 7)),
        ("SM_120", ComputeCapability(12, 0)),
        ("sm_90a", ComputeCapability(9, 0, "a")),
        ("compute_120f", ComputeCapability(12, 0, "f")),
        ("lto_87", ComputeCapability(8, 7)),
        ("12.1f", ComputeCapability(12, 1, "f")),
    ],
)
def test_spellings_are_read(text: str, expected: ComputeCapability) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == parse(expected.sm) == parse(expected.arch("ptx")) == expected


@pytest.mark.parametrize(
    "text", ["", "8", "87", "sm_", "sm_8", "8.77", "8.7b", "-8.7", "8.\u0667", "sm_8.7", "1" * 99]
)
def test_what_is_no_capability(text: str) -> None:
    with pytest.raises(InputError, match="is not a compute capability; write one as"):
        parse(text)


def test_they_are_ordered_by_number() -> None:
    assert list(known()) == sorted(known())
    assert parse("8.9") < parse("9.0") < parse("9.0a") < parse("10.0") < parse("12.0")


def test_each_spelling() -> None:
    hopper = parse("9.0a")
    assert hopper.gencode == "-gencode=arch=compute_90a,code=sm_90a"
    assert [hopper.arch(kind) for kind in ("cubin", "ptx", "lto-ir", "kind-7")] == [
        "sm_90a",
        "compute_90a",
        "lto_90a",
        "kind-7_90a",
    ]
    assert arch_list(["8.6", parse("8.7")]) == "8.6;8.7"


def test_thor_was_renamed() -> None:
    assert parse("10.1a").present == parse("11.0a")
    assert parse("11.0").present == parse("11.0")


@given(st.integers(0, 1 << 32), st.sampled_from(["", "a", "f"]))
def test_any_number_of_a_file_is_one(number: int, suffix: str) -> None:
    found = ComputeCapability.from_sm(number, suffix)
    assert found.number == number
    assert found.sm == f"sm_{number}{suffix}"
    assert found.jetson is (found.is_known and table()[str(found.base)].get("jetson", False))


@pytest.mark.nix
def test_nix_spells_them_alike(nix: Nix) -> None:
    expression = """
      let lib = import ./nix/lib;
      in map (name: [ name (lib.cuda.sm name) (lib.cuda.gencode [ name ]) (lib.cuda.isJetson name) ])
        (builtins.attrNames (builtins.fromTOML (builtins.readFile ./nix/targets/capabilities.toml)))
    """
    result = nix("nix-instantiate", "--eval", "--strict", "--json", "--expr", expression)
    assert result.returncode == 0, result.stderr
    assert sorted(json.loads(result.stdout)) == sorted(
        [str(one), one.sm, one.gencode, one.jetson] for one in known()
    )


def test_gb10_has_the_hosts_memory_and_is_no_jetson() -> None:
    shared = [str(one) for one in known() if one.integrated and not one.jetson]
    assert shared == ["12.1"]
    assert all(one.integrated for one in known() if one.jetson)


def test_every_row_says_what_nvcc_and_the_rules_need() -> None:
    keys = {
        "first",
        "last",
        "renamed",
        "jetson",
        "integrated",
        "sbsa",
        "pci",
        "devices",
        "grace",
        "also",
    }
    assert all(set(row) <= keys for row in table().values())
    for one in known():
        first, last = one.compilers
        assert last is None or tuple(map(int, first.split("."))) <= tuple(map(int, last.split(".")))
        assert one.present.is_known


@pytest.mark.parametrize(
    ("capability", "toolkit"), [("10.3", "12.9"), ("12.1", "13.0"), ("6.1", "12.6")]
)
def test_a_target_can_be_for_any(capability: str, toolkit: str) -> None:
    """B300, GB10: no table had them both as something to build for and as a device."""
    data = dict(load_target("cuda").data)
    del data["vllm"], data["torch"]
    data |= {
        "vllm": {"distribution": "vllm", "version": "0.7.3", "from": "wheel", "device": "empty"},
        # whose wheel is built with CUDA of that major release
        "torch": {
            "version": {"12": "2.5.1", "13": "2.14.0"}[toolkit.split(".")[0]],
            "from": "wheel",
            "distributed": ["gloo"],
        },
        "cuda": {"toolkit": toolkit, "capabilities": [capability]},
    }
    data.pop("triton", None)
    check_target("target.toml", data)
    assert device(capability, cuda=toolkit).capability == parse(capability)


@pytest.mark.parametrize(
    ("text", "capability"),
    [
        ("RTX 5090", "12.0"),
        ("rtx5080", "12.0"),
        ("rtx-5070-ti", "12.0"),
        ("rtx 3070ti", "8.6"),
        ("4090", "8.9"),
        ("sm_120", "12.0"),
        ("sm_120f", "12.0"),
        ("12.0", "12.0"),
        ("dgx-spark", "12.1"),
        ("DGX Spark", "12.1"),
        ("gb10", "12.1"),
        ("orin-nano", "8.7"),
        ("jetson-agx-orin-devkit", "8.7"),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "9.0"),  # labels of Kubernetes
        ("NVIDIA-GeForce-RTX-4090-SHARED", "8.9"),
        ("nvidia-h100-mega-80gb", "9.0"),
        ("Jetson AGX Thor T5000", "11.0"),
        ("DGX Spark GB10", "12.1"),
        ("B300 Ultra", "10.3"),
        ("Quadro RTX A6000", "8.6"),
        ("A6000 Ada", "8.9"),
        ("RTX TITAN", "7.5"),
        ("gtx1660s", "7.5"),
        ("RTX 4070TiS", "8.9"),
        ("RTX 5090 FE", "12.0"),
        ("Jetson Orin Nano Super", "8.7"),
        # As /proc/device-tree/model has them.
        ("NVIDIA Jetson AGX Orin Developer Kit", "8.7"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "8.7"),
        ("NVIDIA Jetson AGX Thor Developer Kit", "11.0"),
        (" orin\n", "8.7"),
        ("Jetson AGX Orin 64GB", "8.7"),
        ("nano", "5.3"),
        ("Jetson Xavier NX", "7.2"),
        ("thor", "11.0"),
        ("tx2", "6.2"),
        ("RTX A6000", "8.6"),
        ("a6000", "8.6"),
        ("H200", "9.0"),
        ("b300", "10.3"),
        ("rtx6000-ada", "8.9"),
        ("NVIDIA RTX 5880 Ada Generation", "8.9"),
        (
            "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            "9.0",
        ),  # as NVIDIA's libraries call an instance of one
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "8.0"),
        ("A30 MIG 1g.6gb+me", "8.0"),
        ("h100 mig 1c.3g.40gb", "9.0"),
        ("Orin (nvgpu)", "8.7"),  # nvidia-smi of JetPack 6
        ("NVIDIA Tegra Orin", "8.7"),
        ("DRIVE Thor", "11.0"),
        ("sm90a", "9.0"),
        ("SM_89", "8.9"),
        ("SM 8.9", "8.9"),
        ("cc 7.5", "7.5"),
        ("compute_120f", "12.0"),
        ("8.6+PTX", "8.6"),
        ("rtx-pro-6000", "12.0"),
        # As drivers say it.
        ("NVIDIA GeForce RTX 4090", "8.9"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "8.9"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", "8.6"),
        ("NVIDIA GeForce RTX 2080 with Max-Q Design", "7.5"),
        ("NVIDIA H100 80GB HBM3", "9.0"),
        ("GRID A100D-10C", "8.0"),
        ("NVIDIA A40-48Q", "8.6"),
        ("NVIDIA L40S-24C", "8.9"),
        ("NVIDIA H100L-1-12CME", "9.0"),
        ("RTX 6000 Pro", "12.0"),
        ("RTX 6000 Blackwell", "12.0"),
        ("rtx-5090-blackwell", "12.0"),
        ("NVIDIA RTX PRO 4000 Blackwell SFF Edition", "12.0"),
        ("RTX 500 Ada", "8.9"),
        ("NVIDIA A100-SXM4-80GB", "8.0"),
        ("NVIDIA A100 80GB PCIe", "8.0"),
        ("Tesla V100-SXM2-16GB", "7.0"),
        ("Tesla T4", "7.5"),
        ("NVIDIA A10G", "8.6"),
        ("NVIDIA L40S", "8.9"),
        ("NVIDIA GH200 144G HBM3e", "9.0"),
        ("GB200 NVL72", "10.0"),
        ("Quadro RTX 6000", "7.5"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "12.0"),
        ("NVIDIA GB10", "12.1"),
        ("GB10 Grace Blackwell Superchip", "12.1"),
        ("ASUS Ascent GX10", "12.1"),
        ("Dell Pro Max with GB10", "12.1"),
        ("Lenovo ThinkStation PGX", "12.1"),
        ("dgxspark", "12.1"),
        ("DGX Spark Founders Edition", "12.1"),
        ("NVIDIA GH200 Grace Hopper Superchip", "9.0"),
        ("Grace Blackwell GB200", "10.0"),
        ("NVIDIA B300 SXM6 AC", "10.3"),
        ("DGX Station GB300", "10.3"),
        ("NVIDIA H20-3e", "9.0"),
        ("NVIDIA Jetson AGX Orin Industrial", "8.7"),
        ("tegra234", "8.7"),
        ("nvidia,tegra264", "11.0"),
        ("RTX PRO 6000D", "12.0"),
        ("6000 pro", "12.0"),
        ("NVIDIA RTX PRO 1000 Blackwell Generation Laptop GPU", "12.0"),
        ("GeForce RTX 5090 D v2", "12.0"),
        ("6000 ada", "8.9"),
        ("GeForce RTX 3050 A Laptop GPU", "8.9"),
        ("PNY RTX A6000 48GB", "8.6"),
        ("NVIDIA A800 40GB Active", "8.0"),
        ("Quadro P620", "6.1"),
    ],
)
def test_devices_as_people_write_them(text: str, capability: str) -> None:
    assert str(device(text).capability) == capability


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("rtx5091", "did you mean GeForce RTX 5090"),
        ("h20o", "did you mean H20"),
        ("ASUS TUF Gaming GeForce RTX 4090 OC", r"did you mean GeForce RTX 4090\?"),
        ("H100 CNX", r"did you mean H100\?"),
        ("GTX 950M", "another kind than GeForce GTX 950: name its compute capability"),
        ("RTX 6000", "RTX 6000 Ada or RTX PRO 6000 Blackwell or Quadro RTX 6000"),
        ("jetson orim", "did you mean Jetson Orin"),
        ("toaster", "name it as nvidia-smi does, or by its compute capability, such as 8.7"),
        ("", "name it as nvidia-smi does"),
        ("120", "for compute capability 12.0 write 12.0"),
        ("87", "for compute capability 8.7 write 8.7"),
        ("mi300x", "only NVIDIA's GPUs are judged by name"),
        ("Ascend 910B", "only NVIDIA's GPUs are judged by name"),
    ],
)
def test_a_name_that_is_not_known(text: str, advice: str) -> None:
    with pytest.raises(InputError, match=rf"unknown device '{text}'; .*{advice}"):
        device(text)


@given(st.text())
def test_any_text_is_a_device_or_an_error_of_a_line(text: str) -> None:
    try:
        assert device(text).capability.is_known
    except InputError as error:
        assert str(error)


def test_a_name_without_end() -> None:
    with pytest.raises(InputError, match="unknown device"):
        device("rtx a6001 " * 100_000)


def test_no_two_devices_have_one_name() -> None:
    titles = [
        title
        for row in table().values()
        for group in ("devices", "grace")
        for title in row.get(group, ())
    ]
    assert len(titles) == len(set(titles)) > 100
    for number, row in table().items():
        for title in (*row.get("devices", ()), *row.get("grace", ())):
            assert str(device(title).capability) == number
        for title, others in row.get("also", {}).items():
            assert title in titles
            for other in others:
                assert (str(device(other).capability), device(other).machine) == (
                    number,
                    device(title).machine,
                )
    assert {"orin", "orin-nano", "rtx-a6000", "rtx-5090", "h200", "gb10", "t4"} <= set(
        device_names()
    )
    assert all(device(name) for name in device_names())


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        ("orin", "aarch64"),
        ("8.7", "aarch64"),
        ("NVIDIA GH200 480GB", "aarch64"),
        ("DGX Spark", "aarch64"),
        ("H200", None),
        ("9.0", None),
    ],
)
def test_the_processor_that_comes_with_it(name: str, machine: str | None) -> None:
    assert device(name).machine == machine


def test_a_device_is_called_as_it_was_asked_for() -> None:
    assert str(device("RTX 5090", cuda="13")) == "RTX 5090 (12.0) with CUDA 13.0"
    assert str(device("sm_120")) == "12.0"
    assert str(Device("NVIDIA H200", parse("9.0"), "13.0")) == "NVIDIA H200 (9.0) with CUDA 13.0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("13", "13.0"),
        ("12.6", "12.6"),
        ("12.6.3", "12.6"),
        ("12.6.3.1", "12.6"),
        ("cu130", "13.0"),
        ("cu118", "11.8"),
        ("v12.8", "12.8"),
        ("CUDA 12.8", "12.8"),
        ("cuda12.4", "12.4"),
        ("12-8", "12.8"),  # packages of apt
        ("12080", "12.8"),  # torch: "driver ... too old (found version 12080)"
        ("13000", "13.0"),
        ("cuda-12.9", "12.9"),
        ("CUDA_12.9", "12.9"),
        ("CUDA Version: 12.8", "12.8"),  # as nvidia-smi prints it
        ("V12.6", "12.6"),
        ("cu13", "13.0"),
        ("cu12.6", "12.6"),
        (" 12.06\n", "12.6"),
    ],
)
def test_cuda_releases(text: str, expected: str) -> None:
    assert cuda_release(text) == expected


@pytest.mark.parametrize(
    ("text", "its"),
    [
        ("580.65.06", ", 13.0 but"),
        ("580", ", 13.0 but"),
        ("575.51", ", 12.9 but"),
        ("9999", ", 13.3 but"),
        ("390.157", "$"),
    ],
)
def test_a_driver_is_no_cuda_release(text: str, its: str) -> None:
    """All that is as new as CUDA 580 would be said to run."""
    with pytest.raises(InputError, match=rf"'{text}' is a driver's release; .* prints{its}"):
        cuda_release(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cuda",
        "13.",
        ".6",
        "11.3",
        "12.6.",
        "13.0a",
        "-12.6",
        "cu1300",
        "100.",
    ],
)
def test_what_is_no_cuda_release(text: str) -> None:
    with pytest.raises(
        InputError, match=f"unknown CUDA release '{text}'; give one as 12.6, 11.4 or"
    ):
        cuda_release(text)
