"""Searching: by wmemchr and without, across pieces, by another thread."""

import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_nix.binaries import search
from vllm_nix.binaries.search import Searcher

WORD = b"\x50\xed\x55\xba"


@pytest.fixture(params=["little", "much", "no C library"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way of searching, with pieces that are small enough to test their borders."""
    monkeypatch.setattr(search, "_PIECE", 16)
    monkeypatch.setattr(search, "_SHORT", 0)
    monkeypatch.setattr(search, "_LITTLE", 1 << 30 if request.param == "little" else 0)
    if request.param == "no C library":
        monkeypatch.setattr(search, "_wmemchr", lambda: None)
    elif request.param == "much":
        assert search._wmemchr()
    return str(request.param)


@pytest.mark.parametrize("at", [0, 4, 8, 12, 16, 20, 56, 60])
def test_it_is_found_wherever_it_lies(way: str, at: int) -> None:
    data = bytes(at) + WORD + bytes(64 - 4 - at)
    assert Searcher(WORD).find(data, 0, 64) == at
    assert Searcher(WORD).find(data, at, at + 4) == at
    assert Searcher(WORD).ahead(data, 0, 64).found() == at


@pytest.mark.parametrize(("start", "end"), [(0, 11), (12, 64), (8, 8), (8, 11), (0, 0), (60, 8)])
def test_it_is_not_found_outside_of_the_range(way: str, start: int, end: int) -> None:
    data = bytes(8) + WORD + bytes(52)
    assert Searcher(WORD).find(data, start, end) == end
    assert Searcher(WORD).ahead(data, start, end).found() == end


def test_what_is_not_aligned_is_passed_over(way: str) -> None:
    data = b"." + 3 * WORD + bytes(3) + WORD
    assert Searcher(WORD).find(data, 0, len(data)) == 16
    assert Searcher(WORD).find(data, 0, 16) == 16


def test_nothing_beyond_the_data_is_read(way: str) -> None:
    assert Searcher(WORD).find(bytes(20), 0, 1 << 12) == 1 << 12
    assert Searcher(WORD).find(b"", 0, 100) == 100


@pytest.mark.parametrize("base", range(8))
def test_a_member_of_an_archive_may_begin_anywhere(way: str, base: int) -> None:
    data = os.urandom(1) * base + bytes(24) + WORD + bytes(100)
    assert Searcher(WORD).find(data, base, len(data)) == base + 24


def test_the_first_of_several_counts_in_a_mapped_file(way: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    data = bytes(5000) + WORD + bytes(776) + WORD
    file.write_bytes(data)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
        assert Searcher(WORD).find(m, 4, len(m)) == data.find(WORD)
        assert Searcher(WORD).find(m, 5004, len(m)) == data.rfind(WORD)
        ahead = Searcher(WORD).ahead(m, 0, len(m))
        ahead.close()  # before the file: nothing of it is held any longer
        assert ahead.found() in (data.find(WORD), len(data))


@given(
    data=st.lists(st.sampled_from([WORD, WORD[::-1], bytes(4), WORD[2:] + WORD[:2]])),
    more=st.binary(max_size=3),
)
def test_of_aligned_words_the_first_is_found(data: list[bytes], more: bytes) -> None:
    whole = b"".join(data) + more
    right = 4 * data.index(WORD) if WORD in data else len(whole)
    wmemchr = search._wmemchr()
    assert wmemchr
    found = wmemchr(whole, WORD, 0, len(whole))
    assert (found if found >= 0 else len(whole)) == right


def test_an_error_of_the_other_thread_is_raised_for_who_asks() -> None:
    ahead = Searcher(WORD).ahead("no bytes", 0, 8)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ahead.found()
    ahead.close()
