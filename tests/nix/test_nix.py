"""Runs the `{ expr; expected; }` of the files beside it, each file a test."""

import json
from pathlib import Path

import pytest

from tests.conftest import Nix

FILES = sorted(Path(__file__).parent.glob("*.nix"))


@pytest.mark.nix
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_expressions(file: Path, nix: Nix) -> None:
    result = nix("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", str(file))
    cases = json.loads(result.stdout)
    assert cases, "a file of tests holds tests"
    assert {name: case["expr"] for name, case in cases.items()} == {
        name: case["expected"] for name, case in cases.items()
    }
