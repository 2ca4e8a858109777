"""The readers of what an environment holds, on good files and on any bytes at all."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_binaries import Part, elf_file

from verification.cuda import DYNSYM, Code, carrier, with_symbols
from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.symbols import read_symbols
from vllm_nix.errors import InputError
from vllm_nix.gpu.compat import Verdict, judge_library
from vllm_nix.gpu.device import device
from vllm_nix.gpu.libraries import read_library
from vllm_nix.verification.checks.gpu_code import has_refused
from vllm_nix.verification.installed import Distribution, read_entry_points
from vllm_nix.verification.machine import Question, named_devices

ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def registering(folder: Path, text: bytes) -> Distribution:
    (folder / "entry_points.txt").write_bytes(text)
    return Distribution(folder, "some", "1")


def test_entry_points(tmp_path: Path) -> None:
    text = b"[a.b]\nOne = m.n:f [extra]\n\n# comment\n[DEFAULT]\ntwo = x\n"
    one, two = read_entry_points(registering(tmp_path, text))
    assert (one.distribution, one.group, one.name, one.module) == ("some", "a.b", "One", "m.n")
    assert (two.group, two.module) == ("DEFAULT", "x")


def test_no_entry_points(tmp_path: Path) -> None:
    assert read_entry_points(Distribution(tmp_path, "some", "1")) == ()
    os.mkfifo(tmp_path / "entry_points.txt")
    with pytest.raises(ValueError, match="cannot be read: not a regular file"):
        read_entry_points(Distribution(tmp_path, "some", "1"))


@pytest.mark.parametrize("text", [b"a = b\n", b"[a\nb = c", b"[a]\n = x\n", b"\xff"])
def test_broken_entry_points(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        read_entry_points(registering(tmp_path, text))
    assert "\n" not in str(caught.value)


@ANY
@given(st.binary() | st.text(alphabet="[]=:a\n\r #;%$\0\x85").map(str.encode))
def test_entry_points_of_any_bytes(tmp_path: Path, data: bytes) -> None:
    try:
        read_entry_points(registering(tmp_path, data))
    except ValueError as error:
        assert "\n" not in str(error)


def test_symbols(tmp_path: Path) -> None:
    file = tmp_path / "lib.so"
    file.write_bytes(with_symbols(("_ZN3one", "two"), ("three",)))
    symbols = read_symbols(file)
    assert symbols.defined == {b"_ZN3one", b"two"}
    assert symbols.needed == {b"three"}


def test_symbols_of_a_real_library() -> None:
    """The C library of whatever Python runs this."""
    files = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    libc = next(file for file in files if "/libc.so" in file or "/libc-" in file)
    symbols = read_symbols(Path(libc))
    assert {b"malloc", b"printf"} <= symbols.defined
    assert not symbols.needed & symbols.defined


def test_symbols_whose_names_overlap(tmp_path: Path) -> None:
    """A file of 300 kB, whose names would take 400 MB."""
    text = b"\0" + b"x" * 65_000 + b"\0"
    table = b"".join(struct.pack("<IBBHQQ", place, 0x12, 0, 1, 0, 0) for place in range(1, 12_000))
    (tmp_path / "lib.so").write_bytes(
        elf_file(Part(".dynsym", table, DYNSYM), Part(".dynstr", text, 3))
    )
    with pytest.raises(ElfError, match="names of symbols longer than"):
        read_symbols(tmp_path / "lib.so")


@ANY
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8))
def test_symbols_of_damaged_files(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(with_symbols(("_ZN3one",), ("two",), ("libc10.so",)))
    for place, value in changes:
        data[place % len(data)] = value
    (tmp_path / "lib.so").write_bytes(data)
    try:
        read_symbols(tmp_path / "lib.so")
    except ElfError as error:
        assert str(error)


CODE: st.SearchStrategy[Code] = st.one_of(
    st.tuples(st.just("cubin"), st.integers(0, 1 << 12)),
    st.tuples(
        st.just("ptx"), st.integers(0, 200), st.tuples(st.integers(0, 99), st.integers(0, 99))
    ),
)


@ANY
@given(st.lists(st.lists(CODE, min_size=1), min_size=1), st.sampled_from(["orin", "9.0", "t4"]))
def test_any_gpu_code_is_judged(tmp_path: Path, units: list[list[Code]], name: str) -> None:
    """And a library with a kernel of the device's own in each unit lacks nothing."""
    file = tmp_path / "lib.so"
    file.write_bytes(carrier(*units))
    target = device(name, cuda="12.6")
    judgement = judge_library(read_library(file), target)
    assert sum(judgement.counts.values()) == len(units)
    assert not has_refused(read_library(file), target) or any(
        kind == "ptx" for u in units for kind, *_ in u
    )
    own: Code = ("cubin", target.capability.number)
    file.write_bytes(carrier(*([own, *unit] for unit in units)))
    assert judge_library(read_library(file), target).verdict is Verdict.NATIVE


@pytest.mark.parametrize("question", [Question(cuda="zz"), Question(jetpack="99")])
def test_a_release_that_is_none_is_refused_where_nothing_asks_for_it(question: Question) -> None:
    with pytest.raises(InputError, match="unknown"):
        named_devices(question, {})


KEYS = st.sampled_from(["cuda", "capabilities", "toolkit", "jetpack", "version"])
VALUES = st.none() | st.integers() | st.sampled_from(["8.7", "6.2", "12.6", "x", ""])


@given(
    st.dictionaries(
        KEYS,
        st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)),
    )
)
def test_any_parameters_of_a_manifest(parameters: dict[str, object]) -> None:
    try:
        named_devices(Question(), parameters)
    except InputError as error:
        assert "\n" not in str(error)
