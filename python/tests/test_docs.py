"""Documents that are written by programs equal what these write."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documents are in the repository only")
def test_the_public_wheels_on_orin() -> None:
    """The page is what the recorded scan gives; `make docs` writes it anew."""
    program = "import json; from docs.wheels_on_orin import SCAN, page; "
    program += "print(page(json.loads(SCAN.read_text())), end='')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs/wheels-on-orin.md").read_text(encoding="utf-8") == done.stdout


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documents are in the repository only")
def test_the_checks_of_verify() -> None:
    """The table has every check with its title; `python -m docs.verify_table` writes it anew."""
    program = "from docs.verify_table import PAGE, page; print(page(PAGE.read_text()), end='')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs/verify.md").read_text(encoding="utf-8") == done.stdout
    assert done.stdout.count("\n| `") >= 29
