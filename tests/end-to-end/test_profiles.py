"""The serve profiles answer on the CPU target, with tiny models whose right answers are known."""

import sys
from pathlib import Path

import pytest

from tests.conftest import said

pytestmark = pytest.mark.nix


@pytest.mark.parametrize(
    "profile",
    [
        "speculative",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("chat", "embedding", "reranker")),
    ],
)
def test_it_answers_rightly_and_clients_with_the_key_alone(environment: Path, profile: str) -> None:
    program = Path(__file__).with_name("profiles.py")
    assert said(sys.executable, program, environment, profile).startswith(f"{profile}: ")
