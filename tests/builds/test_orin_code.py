"""Code for Orin, really compiled: nvcc 12.4, the registry's torch 2.5.1, and each project's own build."""

import zipfile
from pathlib import Path

import pytest

from tests.conftest import Nix
from vllm_nix.gpu.libraries import read_library

pytestmark = [pytest.mark.nix, pytest.mark.slow]

COMPILED = "(import ./tests/builds/sources/compiled.nix)"


def architectures(library: Path) -> set[str]:
    return {code.arch for code in read_library(library).counts()["host"]}


def check(**wanted: str) -> str:
    arguments = " ".join(f'"--{name}={value}"' for name, value in wanted.items())
    return f"{COMPILED}.check [ {arguments} ]"


def test_a_torch_for_cuda_that_is_what_was_asked_for(nix: Nix) -> None:
    archs = "sm_50,sm_60,sm_70,sm_75,sm_80,sm_86,sm_90"
    nix.build(
        check(
            version="2.5.1+cu124",
            distributed="gloo,nccl",
            archs=archs,
            nccl="2.21.5-1",
        )
    )


def test_a_torch_for_servers_is_not_orins(nix: Nix) -> None:
    said = nix.fail(check(version="2.5.1", distributed="mpi", archs="sm_87", nccl="2.27.7-1"))
    for sentence in (
        "its version is 2.5.1+cu124, not 2.5.1",
        "torch.distributed lacks mpi; set USE_MPI=1, and see why CMake left it out",
        "its GPU code is for sm_50, sm_60, sm_70, sm_75, sm_80, sm_86, sm_90, not sm_87",
        "its NCCL is 2.21.5, not 2.27.7-1",
    ):
        assert f"torch: {sentence}" in said


def test_a_kernel_of_flash_attention(nix: Nix) -> None:
    [library] = nix.build(f"{COMPILED}.kernel").glob("*.so")
    assert architectures(library) == {"sm_87"}


@pytest.mark.parametrize("extension", ["_moe_C", "_C"])  # 30 min of a core; 56, of two
def test_an_extension_of_vllm(nix: Nix, tmp_path: Path, extension: str) -> None:
    """By the expression that `vllm-jetson` uses; the whole wheel but for the other extensions."""
    wheel = nix.build(f'{COMPILED}.vllm [ "{extension}" ]')
    assert wheel.name.endswith("-vllm-0.7.3+cu124-cp311-cp311-linux_x86_64.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".so")]
        library = Path(archive.extract(name, tmp_path))
    assert name == f"vllm/{extension}.abi3.so"
    assert architectures(library) == {"sm_87"}


def test_setup_py_works_by_hand_in_the_shell(nix: Nix, tmp_path: Path) -> None:
    """As docs/jetson.md says it; the wheel's smallest extension, where the shell is jetson's own."""
    by_hand = "cp -r --no-preserve=mode $src vllm && cd vllm && python setup.py bdist_wheel"
    shell = f'{COMPILED}.shell [ "cumem_allocator" ]'
    nix(
        *("nix", "develop", "--impure", "--ignore-environment", "--expr", shell),
        *("--command", "bash", "-c", f"cd {tmp_path} && {by_hand}"),
    )
    [wheel] = (tmp_path / "vllm/dist").iterdir()
    assert wheel.name == "vllm-0.7.3+cu124-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert [each for each in archive.namelist() if each.endswith(".so")] == [
            "vllm/cumem_allocator.abi3.so"
        ]
