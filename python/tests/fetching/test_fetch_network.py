"""Fetching with pip and apt as they are configured on this machine."""

import sys
from pathlib import Path

import pytest

from vllm_nix.fetching.fetch import fetch
from vllm_nix.fetching.sources import Source, Sources, load_sources


@pytest.mark.nix
@pytest.mark.network
@pytest.mark.usefixtures("private_store")
@pytest.mark.parametrize("kind", [".whl", ".deb"])
@pytest.mark.parametrize("system", ["x86_64-linux", "aarch64-linux"])
def test_the_smallest_file_of_the_base(system: str, kind: str) -> None:
    if kind == ".deb" and not Path("/usr/lib/apt/apt-helper").exists():
        pytest.skip("apt is not on this machine")
    files = [each for each in load_sources(["debian"], system).files if each.file.endswith(kind)]
    smallest = min(files, key=_size)
    assert fetch(Sources((smallest,))).size == smallest.size
    assert smallest.path.stat().st_size == smallest.size


def _size(each: Source) -> int:
    return each.size or sys.maxsize
