"""With a torch for CUDA, the registry's 2.5.1: what a torch is asked when it was built."""

import pytest

from tests.conftest import Nix

pytestmark = [pytest.mark.nix, pytest.mark.slow]

COMPILED = "(import ./tests/builds/sources/compiled.nix)"


def check(**wanted: str) -> str:
    arguments = " ".join(f'"--{name}={value}"' for name, value in wanted.items())
    return f"{COMPILED}.check [ {arguments} ]"


def test_a_torch_for_cuda_that_is_what_was_asked_for(nix: Nix) -> None:
    capabilities = "5.0,6.0,7.0,7.5,8.0,8.6,9.0"
    nix.build(
        check(
            version="2.5.1+cu124",
            distributed="gloo,nccl",
            capabilities=capabilities,
            nccl="2.21.5-1",
        )
    )


def test_a_torch_for_servers_is_not_orins(nix: Nix) -> None:
    said = nix.fail(check(version="2.5.1", distributed="mpi", capabilities="8.7", nccl="2.27.7-1"))
    for sentence in (
        "its version is 2.5.1+cu124, not 2.5.1",
        "torch.distributed lacks mpi; set USE_MPI=1, and see why CMake left it out",
        "its GPU code is for sm_50, sm_60, sm_70, sm_75, sm_80, sm_86, sm_90, not sm_87",
        "its NCCL is 2.21.5, not 2.27.7-1",
    ):
        assert f"torch: {sentence}" in said
