"""`vllm-nix ray` as a user meets it, up to where other hosts would have to be there."""

import subprocess
import sys
from pathlib import Path

import pytest

from vllm_nix.errors import Unavailable
from vllm_nix.hosts.network import own_address_to


def ray(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "vllm_nix", "ray", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ray").write_text("#!/bin/sh\n")
    (tmp_path / "bin/ray").chmod(0o755)
    return tmp_path


@pytest.fixture
def here() -> str:
    """An address of this machine's that others would reach."""
    try:
        return own_address_to("192.0.2.7")
    except Unavailable:
        pytest.skip("no network on this machine")


def test_what_is_refused(environment: Path) -> None:
    for words, fault in (
        (("--nodes", "1", "--rank", "0", "--head", "10.0.0.1"), "give 2 or more"),
        (("--nodes", "2", "--rank", "2", "--head", "10.0.0.1"), "--rank 2 of 2 hosts"),
        (("--nodes", "2", "--rank", "1", "--head", "localhost"), "where no other reaches it"),
        (("--nodes", "2", "--rank", "1", "--head", "no.such.invalid"), "is not an address"),
    ):
        result = ray(environment, *words)
        assert (result.returncode, result.stdout) == (2, "")
        assert fault in result.stderr
        assert result.stderr.count("\n") == 1
    result = ray("/nonexistent", "--nodes", "2", "--rank", "1", "--head", "10.0.0.1")
    assert result.returncode == 2
    assert "/nonexistent is not an environment with Ray" in result.stderr


@pytest.mark.parametrize(("release", "status"), [("2.40.0", 2), ("2.51.0", 2), ("2.52.0", 3)])
def test_a_ray_without_ipv6(environment: Path, release: str, status: int) -> None:
    (environment / f"lib/python3.11/site-packages/ray-{release}.dist-info").mkdir(parents=True)
    words = ("--nodes", "2", "--rank", "1", "--head", "fd00::1", "--wait", "0.1")
    result = ray(environment, *words)
    if "no route from this host" in result.stderr:
        pytest.skip("no IPv6 on this machine")
    assert result.returncode == status
    assert (f"Ray {release} has no IPv6, which fd00::1 is" in result.stderr) == (status == 2)


def test_others_who_do_not_come(environment: Path, here: str) -> None:
    words = ("--nodes", "2", "--rank", "0", "--head", here, "--port", "17431", "--wait", "0.5")
    result = ray(environment, *words)
    assert result.returncode == 3
    last = result.stderr.splitlines()[-1]
    assert last == f"vllm-nix: rank 1 of 2 did not come to {here}:17432 within 0.5 s"


def test_a_host_cannot_be_two(environment: Path, here: str) -> None:
    result = ray(environment, "--nodes", "2", "--rank", "1", "--head", here)
    assert result.returncode == 2
    assert f"head {here} is this host: rank 0 runs on the head" in result.stderr
