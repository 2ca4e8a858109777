import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_binaries import archive, bsd_archive, label

from vllm_nix.binaries.archive import ArchiveError, members

LONG = "a_name_longer_than_fifteen.o"
SAMPLE = archive(("short.o", b"odd"), (LONG, b"even"))


def contents(data: bytes) -> list[tuple[str, bytes]]:
    return [(one.name, data[one.offset : one.offset + one.size]) for one in members(data)]


def test_gnu_names() -> None:
    assert contents(SAMPLE) == [("short.o", b"odd"), (LONG, b"even")]


def test_bsd_names() -> None:
    assert contents(bsd_archive(b"padded.o\0\0", b"data")) == [("padded.o", b"data")]


def test_agrees_with_ar(tmp_path: Path) -> None:
    for name in ("x.o", LONG):
        (tmp_path / name).write_bytes(name.encode())
    try:
        subprocess.run(["ar", "rcs", "lib.a", "x.o", LONG], cwd=tmp_path, check=True)
    except FileNotFoundError:
        pytest.skip("no `ar` here")
    found = contents((tmp_path / "lib.a").read_bytes())
    assert found == [("x.o", b"x.o"), (LONG, LONG.encode())]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"!<thin>\n", "thin archive"),
        (b"PK", "not an archive"),
        (SAMPLE[:-1], "is cut off"),
        (SAMPLE[:-5], "no member header at offset"),
        (SAMPLE + b"x" * 60, "no member header at offset"),
        (SAMPLE.replace(b"/0  ", b"/99 "), "damaged name"),
        (SAMPLE.replace(b"/\n", b"//"), "name without an end"),
        (bsd_archive(b"n", b"").replace(b"#1/1", b"#1/9"), "damaged name"),
    ],
    ids=label,
)
def test_what_is_wrong_is_said(data: bytes, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        list(members(data))


@given(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=8))
def test_damage_is_an_archive_error_and_nothing_else(offset: int, data: bytes) -> None:
    damaged = SAMPLE[:offset] + data + SAMPLE[offset + len(data) :]
    try:
        for one in members(damaged):
            assert one.offset + one.size <= len(damaged)
    except ArchiveError as error:
        assert str(error)
