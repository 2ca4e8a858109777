from pathlib import Path

import pytest

from verification.cuda import healthy_cuda
from verification.environments import Sample, healthy


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A healthy virtual environment."""
    return healthy(tmp_path / "environment")


@pytest.fixture
def gpu_sample(tmp_path: Path) -> Sample:
    """A healthy environment for an Orin."""
    return healthy_cuda(tmp_path / "environment")


@pytest.fixture(autouse=True)
def no_driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver of the machine that runs the tests is not what is tested."""
    if not request.module.__name__.endswith("test_live"):
        monkeypatch.setattr(
            "vllm_nix.verification.run.ask_driver", lambda _: "no NVIDIA driver here"
        )
