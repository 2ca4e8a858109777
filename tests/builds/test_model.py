"""Downloading a model by the client in the CPU target's environment, from a hub that stands in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builds.hub import serving

pytestmark = pytest.mark.nix

NAME = "acme/tiny"
SIZE = 30_000_000  # the client writes what it has in pieces of 10 MB


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder of models, as a hub has them."""
    folder = tmp_path / "hub"
    (folder / NAME).mkdir(parents=True)
    (folder / NAME / "config.json").write_text("{}")
    (folder / NAME / "model.safetensors").write_bytes(os.urandom(SIZE))
    return folder


def model(environment: Path, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    command: list[str | Path] = [sys.executable, "-m", "vllm_nix", "model", "cpu", NAME]
    command += ["--environment", environment, "--download-dir", folder / "models"]
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={"HOME": str(folder), "HF_HUB_DISABLE_XET": "1", **variables},
    )


def test_a_broken_connection_is_resumed(environment: Path, published: Path, tmp_path: Path) -> None:
    with serving(published, cut=25_000_000) as hub:
        result = model(environment, tmp_path, HF_ENDPOINT=hub.address)
    assert result.returncode == 0, result.stderr
    assert len(hub.ranges) == 1, "asked for the rest alone"
    got = tmp_path / "models" / NAME / "model.safetensors"
    assert got.read_bytes() == (published / NAME / "model.safetensors").read_bytes()
    assert result.stdout.splitlines()[-1] == f"{NAME} is in {got.parent}"


def test_offline_and_unknown_are_one_sentence_of_ours(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    with serving(tmp_path / "hub") as hub:
        for variables in ({"HF_HUB_OFFLINE": "1"}, {}):
            result = model(environment, tmp_path, HF_ENDPOINT=hub.address, **variables)
            assert result.returncode == 1
            last = result.stderr.splitlines()[-1]
            said = f"vllm-nix: hf could not download {NAME} (exit status 1), see above; "
            assert last.startswith(said)
