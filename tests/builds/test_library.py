"""The library as a package: it brings the data that it reads."""

import json
import subprocess

import pytest

from tests.conftest import EMBEDDED, Nix
from vllm_nix import load_target

pytestmark = pytest.mark.nix


def test_the_package_has_the_targets_and_the_locks(
    nix: Nix, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("build") / "result"
    nix("nix", "build", ".#vllm-nix", "--out-link", str(link), *EMBEDDED)
    command = link / "bin/vllm-nix"

    def run(*arguments: str) -> str:
        return subprocess.run(
            [command, *arguments], check=True, capture_output=True, text=True, cwd="/"
        ).stdout

    assert json.loads(run("params", "cpu", "--format", "json")) == load_target("cpu").parameters()
    listed = json.loads(run("fetch", "cpu", "--list", "--json"))
    assert listed, "the locks say what to fetch"
