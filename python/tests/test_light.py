"""What lets `archs` start fast, and that it does."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from made_binaries import elf_file

from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.libraries import Library
from vllm_nix.light import once

SLOW = {
    "collections",
    "re",
    "enum",
    "typing",
    "functools",
    "contextlib",
    "argparse",
    "pathlib",
    "signal",
    "json",
}


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there, typing makes the tuples")
def test_archs_of_a_file_imports_little(tmp_path: Path) -> None:
    """Each of these takes milliseconds, of which Python's own start has 12."""
    (tmp_path / "x.so").write_bytes(elf_file())
    program = "import sys; sys.path += sys.argv[2:]; from vllm_nix.cli import _run; "
    program += "_run(['archs', sys.argv[1]], print); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, tmp_path / "x.so", *sys.path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no GPU code in" in done.stdout
    assert SLOW & {*done.stdout.split()} == set()


def test_a_tuple_is_one_of_typings() -> None:
    found = ComputeCapability(8, 7)
    assert found == (8, 7, "")
    assert ComputeCapability._fields == ("major", "minor", "suffix")
    assert ComputeCapability._field_defaults == {"suffix": ""}
    assert found._replace(minor=6) == ComputeCapability(major=8, minor=6)
    assert str(found) == "8.7"
    assert repr(found) == "ComputeCapability(major=8, minor=7, suffix='')"
    assert pickle.loads(pickle.dumps(found)) == found
    assert ComputeCapability.__doc__
    assert ComputeCapability.__doc__.startswith("Such as 8.7")
    assert Library("x", (), ()).path == Path("x")
    with pytest.raises(TypeError, match="minor"):
        ComputeCapability(8)  # type: ignore[call-arg]


def test_once() -> None:
    made: list[int] = []
    get = once(lambda: made.append(1))
    assert (get(), get(), made) == (None, None, [1])
