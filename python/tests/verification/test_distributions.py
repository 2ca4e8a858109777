import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_nix.verification.installed import Entry, read_distributions, read_record


def folder(tmp_path: Path, metadata: bytes, record: bytes = b"") -> Path:
    folder = tmp_path / "some_name-1.0.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_bytes(metadata)
    (folder / "RECORD").write_bytes(record)
    return tmp_path


def test_reads(tmp_path: Path) -> None:
    metadata = b"Metadata-Version: 2.1\nName: Some.Name\nVersion: 1.0\nRequires-Dist: a>1\n\ntext"
    record = b'"a,b.py",SHA256=xyz,12\nRECORD,,\n'
    (found,) = read_distributions(folder(tmp_path, metadata, record))
    assert (found.name, found.version, found.requires) == ("some-name", "1.0", ("a>1",))
    assert not found.problem
    assert tuple(read_record(found)) == (
        Entry("a,b.py", "sha256", "xyz", 12),
        Entry("RECORD", "", "", None),
    )


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [(b"Name: x", "METADATA has no Version"), (b"", "METADATA has no Name"), (b"\xff", "decode")],
)
def test_problem(tmp_path: Path, metadata: bytes, problem: str) -> None:
    (found,) = read_distributions(folder(tmp_path, metadata))
    assert problem in found.problem
    assert (found.name, found.version) == ("some-name", "1.0")


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "x-1.dist-info"
    place.mkdir()
    for name in ("METADATA", "RECORD"):
        os.mkfifo(place / name)
    (found,) = read_distributions(tmp_path)
    assert found.problem
    with pytest.raises(OSError, match="not a regular file"):
        tuple(read_record(found))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.text().map(str.encode))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    (found,) = read_distributions(folder(tmp_path, b"Name: x\nVersion: 1\n" + data, data))
    try:
        tuple(read_record(found))
    except ValueError as error:
        assert str(error)
