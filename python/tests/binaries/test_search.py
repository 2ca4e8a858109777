"""Searching: by `re` and by memmem, across pieces, by another thread."""

import mmap
import os
import re
from pathlib import Path

import pytest

from vllm_nix.binaries import search
from vllm_nix.binaries.search import Searcher

NEEDLE = b"\x50\xed\x55\xba\x01\x00\x10\x00"


@pytest.fixture(params=["re", "memmem", "no C library"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way of searching, with pieces that are small enough to test their borders."""
    monkeypatch.setattr(search, "_PIECE", 16)
    monkeypatch.setattr(search, "_SHORT", 0)
    monkeypatch.setattr(search, "_LITTLE", 1 << 30 if request.param == "re" else 0)
    if request.param == "no C library":
        monkeypatch.setattr(search, "_memmem", lambda: None)
    elif request.param == "memmem":
        assert search._memmem()
    return str(request.param)


@pytest.mark.parametrize("at", [0, 1, 8, 9, 15, 16, 17, 40, 55, 56])
def test_it_is_found_wherever_it_lies(way: str, at: int) -> None:
    data = bytes(at) + NEEDLE + bytes(64 - 8 - at)
    assert Searcher(NEEDLE).find(data, 0, 64) == at
    assert Searcher(NEEDLE).find(data, at, at + 8) == at
    assert Searcher(NEEDLE).ahead(data, 0, 64).found() == at


@pytest.mark.parametrize(("start", "end"), [(0, 15), (9, 64), (8, 8), (8, 15), (0, 0), (60, 10)])
def test_it_is_not_found_outside_of_the_range(way: str, start: int, end: int) -> None:
    data = bytes(8) + NEEDLE + bytes(48)
    assert Searcher(NEEDLE).find(data, start, end) == end
    assert Searcher(NEEDLE).ahead(data, start, end).found() == end


def test_nothing_beyond_the_data_is_read(way: str) -> None:
    assert Searcher(NEEDLE).find(bytes(20), 0, 1 << 12) == 1 << 12
    assert Searcher(NEEDLE).find(b"", 0, 100) == 100


def test_the_first_of_several_counts_in_a_mapped_file(way: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    data = os.urandom(5000) + NEEDLE + os.urandom(777) + NEEDLE
    file.write_bytes(data)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
        assert Searcher(NEEDLE).find(m, 3, len(m)) == data.find(NEEDLE)
        assert Searcher(NEEDLE).find(m, 5001, len(m)) == data.rfind(NEEDLE)
        ahead = Searcher(NEEDLE).ahead(m, 0, len(m))
        ahead.close()  # before the file: nothing of it is held any longer
        assert ahead.found() in (data.find(NEEDLE), len(data))


def test_both_ways_find_the_same_in_random_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_LITTLE", 0)
    monkeypatch.setattr(search, "_SHORT", 0)
    for seed in range(200):
        data = bytes((seed * 7 + i * i * 31 + (i >> 3)) & 1 for i in range(300))
        needle = data[seed : seed + 12]
        found = Searcher(needle).find(data, 0, len(data))
        match = re.search(re.escape(needle), data)
        assert match
        assert found == match.start()


def test_an_error_of_the_other_thread_is_raised_for_who_asks() -> None:
    ahead = Searcher(NEEDLE).ahead("no bytes", 0, 8)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ahead.found()
    ahead.close()
