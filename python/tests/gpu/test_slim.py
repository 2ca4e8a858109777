"""Slimming: what stays of a fatbin, what a new library must be, what is refused and left whole."""

import base64
import csv
import errno
import hashlib
import json
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from made_binaries import NEEDS_DRIVER, TEXT_AFTER, archive, cubin, entry, fatbin_of, shared_library

from vllm_nix import cli, process, scratch
from vllm_nix.binaries import elf, loading, shrink
from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.gpu import compression, fatbin, slim, slim_tree
from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.compat import Verdict, judge_library
from vllm_nix.gpu.device import Device, device
from vllm_nix.gpu.libraries import read_library
from vllm_nix.gpu.mark import Mark
from vllm_nix.gpu.slim import Neighbours
from vllm_nix.gpu.slim_tree import slim_path

A, F = 0x100011, 0x200011  # flags of architecture- and family-specific code
SIZE = 20_000


def code(arch: str, isa: tuple[int, int] = (8, 0), size: int = SIZE) -> bytes:
    """An entry such as sm_86, sm_90a, compute_80 or lto_80, with bytes that are like no other's."""
    kind, _, number = arch.partition("_")
    sm = int(number.rstrip("af"))
    flags = {"a": A, "f": F}.get(number[-1], 0x11)
    body = random.Random(f"{arch}{size}").randbytes(size)
    if kind == "sm":
        return entry(2, sm, cubin(sm, "kernel") + body, flags=flags)
    return entry({"compute": 1, "lto": 8}[kind], sm, body, flags=flags, version=isa)


def fatbin_with(*archs: str) -> bytes:
    return fatbin_of(*map(code, archs))


WIDE = fatbin_with("sm_75", "sm_80", "sm_86", "sm_90", "compute_90")
HOPPER = fatbin_with("sm_90a")
AMPERE = fatbin_with("sm_80", "compute_80")


def archs(path: Path) -> list[list[str]]:
    """Of each fatbin, what it holds; [] of one with nothing to run."""
    found = fatbin.read(path)
    assert not found.damage
    return [[] if one.is_stub else [e.arch for e in one.entries] for one in found.fatbins]


def slimmed(tmp_path: Path, library: bytes, *devices: str, **driver: str) -> Path:
    path = tmp_path / "lib.so"
    path.write_bytes(library)
    slim_path(path, [device(name, **driver) for name in devices], tmp_path / "out")
    assert path.read_bytes() == library
    return tmp_path / "out" / "lib.so"


@pytest.mark.parametrize(
    ("devices", "driver", "kept"),
    [
        (["8.6"], {}, ["sm_86"]),
        (["8.7"], {"cuda": "13.2"}, ["sm_86"]),
        (["8.7"], {"cuda": "12.6"}, ["compute_80"]),
        (["8.7"], {}, ["sm_86", "compute_80"]),  # it depends on the driver: both
        (["8.0"], {}, ["sm_80"]),
        (["8.9"], {}, ["sm_86"]),
        (["9.0"], {}, ["sm_90a"]),
        (["12.0"], {"cuda": "13.0"}, ["compute_80"]),
        (["10.3"], {}, ["sm_100f"]),
        (["8.6", "9.0"], {}, ["sm_86", "sm_90a"]),
        (["a6000", "rtx3090"], {}, ["sm_86"]),
    ],
)
def test_what_stays_of_a_fatbin(
    tmp_path: Path, devices: list[str], driver: dict[str, str], kept: list[str]
) -> None:
    mixed = fatbin_with("sm_75", "sm_80", "sm_86", "sm_90a", "sm_100f", "compute_75", "compute_80")
    assert archs(slimmed(tmp_path, shared_library([mixed]), *devices, **driver)) == [kept]


def test_the_newest_ptx_that_the_driver_takes(tmp_path: Path) -> None:
    texts = fatbin_of(
        code("compute_70", (8, 0)), code("compute_75", (8, 5)), code("compute_80", (9, 0))
    )
    library = shared_library([texts])
    assert archs(slimmed(tmp_path, library, "8.6", cuda="12.6")) == [["compute_75"]]


def test_kept_entries_are_the_same_to_the_byte(tmp_path: Path) -> None:
    new = slimmed(tmp_path, shared_library([WIDE, AMPERE]), "8.6").read_bytes()
    assert new.count(code("sm_86")) == 1
    assert new.count(code("sm_80")) == 1
    for gone in ("sm_75", "sm_90", "compute_80", "compute_90"):
        assert code(gone)[100:200] not in new
    assert len(new) < 3 * SIZE + 0x4000


LOADED = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
print(ctypes.c_char_p.in_dll(library, "text").value.decode())
records = (ctypes.c_uint64 * (3 * int(sys.argv[2]))).in_dll(library, "wrappers")
for pointer in records[1::3]:
    magic, size = ctypes.c_uint32.from_address(pointer), ctypes.c_uint64.from_address(pointer + 8)
    kind, sm = ctypes.c_uint16.from_address(pointer + 16), ctypes.c_uint32.from_address(pointer + 44)
    print(f"{magic.value:x} {kind.value} {sm.value}")
"""


def loaded(path: Path, wrappers: int) -> list[str]:
    """What a process finds at the library's symbols, once the loader is done."""
    command = [sys.executable, "-c", LOADED, str(path), str(wrappers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("copies", [True, False], ids=["bfd", "lld"])
@pytest.mark.parametrize("page", [0x1000, 0x10000])
def test_a_slim_library_loads_and_its_wrappers_find_their_code(
    tmp_path: Path, copies: bool, page: int
) -> None:
    whole = shared_library([WIDE, HOPPER, AMPERE], [WIDE, WIDE], copies=copies, page=page)
    path = slimmed(tmp_path, whole, "8.6")
    rows = ["ba55ed50 2 86", "ba55ed50 2 52", "ba55ed50 2 80", *["ba55ed50 2 52"] * 2]
    assert loaded(path, 5) == [TEXT_AFTER[:-1].decode(), *rows]


def test_arms_64_kib_pages(tmp_path: Path) -> None:
    whole = shared_library([WIDE] * 9, [AMPERE] * 3, machine=183, page=0x10000, copies=False)
    path = slimmed(tmp_path, whole, "gh200")
    assert archs(path) == [["sm_90"]] * 9 + [[]] * 3
    data = path.read_bytes()
    assert len(data) < len(whole) - 4 * 0x10000
    loads = [
        segment
        for index in range(struct.unpack_from("<H", data, 56)[0])
        if (segment := struct.unpack_from("<IIQQQQQQ", data, _segments(data) + 56 * index))[0] == 1
    ]
    assert len(loads) > 2
    assert [load[3] for load in loads] == sorted(load[3] for load in loads)
    for _, _, offset, address, _, size, _, align in loads:
        assert align == 0x10000
        assert (offset - address) % align == 0
        assert offset + size <= len(data)


def _segments(data: bytes) -> int:
    return int(struct.unpack_from("<Q", data, 32)[0])


def test_symbols_follow_the_code(tmp_path: Path) -> None:
    data = slimmed(tmp_path, shared_library([WIDE, AMPERE]), "8.6").read_bytes()
    sections = {section.name: section for section in elf.parse(data).sections}
    table = sections[".symtab"]
    *_, start, size = struct.unpack_from("<IBBHQQ", data, table.offset + 48)
    place = sections[".nv_fatbin"].offset
    assert start == sections[".nv_fatbin"].address
    assert size == 16 + struct.unpack_from("<Q", data, place + 8)[0] == 16 + len(code("sm_86"))


def test_objects_for_the_device_linker(tmp_path: Path) -> None:
    """They go where what was linked from them runs, and stay where the driver links their PTX."""
    objects = fatbin_with("sm_80", "sm_90", "compute_90")
    linked = fatbin_with("sm_80", "compute_90")
    path = slimmed(tmp_path, shared_library([linked], [objects]), "8.6")
    assert archs(path) == [["sm_80"], []]
    path.unlink()
    path = slimmed(tmp_path, shared_library([linked], [objects]), "12.0", cuda="13.0")
    assert archs(path) == [["compute_90"], ["compute_90"]]


def test_a_library_whose_wrappers_share_a_fatbin(tmp_path: Path) -> None:
    whole = shared_library([WIDE, AMPERE], wrappers=[(1, len(WIDE)), (2, 0), (1, 0)])
    path = slimmed(tmp_path, whole, "8.6")
    assert loaded(path, 3)[1:] == ["ba55ed50 2 80", "ba55ed50 2 86", "ba55ed50 2 86"]


def test_what_the_device_linker_puts_first(tmp_path: Path) -> None:
    """As in cuSOLVER and cuSPARSE 13: code may point to it, so it stays where it is."""
    whole = shared_library([AMPERE, WIDE], wrappers=[(1, len(AMPERE))])
    path = slimmed(tmp_path, whole, "8.6")
    assert archs(path) == [["sm_80", "compute_80"], ["sm_86"]]
    place = next(one for one in elf.read(path).sections if one.name == ".nv_fatbin").address
    assert path.read_bytes()[place:].startswith(AMPERE)
    assert loaded(path, 1)[1:] == ["ba55ed50 2 86"]


def refusal(tmp_path: Path, library: bytes, *devices: str) -> str:
    path = tmp_path / "lib.so"
    path.write_bytes(library)
    with pytest.raises(InputError) as caught:
        slim_path(path, [device(name) for name in devices or ("8.6",)], tmp_path / "out")
    assert path.read_bytes() == library
    assert not [*tmp_path.glob("out/*"), *tmp_path.glob("out/.*")]
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ").removesuffix("; it stays as it is")


NOT_UNDERSTOOD: dict[str, tuple[bytes, str]] = {
    "text": (b"GROUP ( libtorch.so )", "not a shared library"),
    "archive": (archive(("kernel.o", WIDE)), "not a shared library"),
    "truncated": (shared_library([WIDE])[:-70_000], "section header of 64 bytes at"),
    "half a header": (b"\x7fELF\x02\x01\x01", "header cut off at offset 0x7"),
    "no GPU code": (shared_library([b"\0" * 16], wrappers=[]), "no GPU code"),
    "damaged": (
        shared_library([WIDE[:8] + struct.pack("<Q", 1 << 40) + WIDE[16:]]),
        "fatbin of 1099511627776 bytes",
    ),
    "RELR": (shared_library([WIDE], tags=[(36, 0)]), "packed relative relocations (RELR)"),
    "REL": (shared_library([WIDE], tags=[(17, 0)]), "relocations without addends"),
    "another relocation": (
        shared_library([WIDE], relocations=[(-1, 24, 0)]),
        "a relocation of unknown kind 24",
    ),
    "another pointer": (
        shared_library([WIDE], relocations=[(-1, 8, 0)]),
        "a pointer at address 0x1b000 has another value before it is set",
    ),
    "another pointer, zero": (
        shared_library([WIDE], relocations=[(-1, 8, 0)], copies=False),
        "1 pointers to its GPU code are in no wrapper",
    ),
    "into the middle": (
        shared_library([WIDE], wrappers=[(1, 0), (1, 64)]),
        "a wrapper points into the middle of a fatbin",
    ),
    "a relocated cubin": (
        shared_library([WIDE], relocations=[(80, 8, 0)]),
        "a relocation changes the GPU code itself",
    ),
    "by symbol": (
        shared_library([WIDE], relocations=[(-1, 1 | 1 << 32, 0)], copies=False),
        "a relocation of kind 1 points to GPU code",
    ),
    "exported": (shared_library([WIDE], code_symbol=True), "a dynamic symbol in the GPU code"),
    "no wrapper": (shared_library([WIDE, AMPERE], wrappers=[(1, 0)]), "1 of 2 fatbins have no"),
    "none at all": (shared_library([WIDE], wrappers=[]), "nothing to save"),
    "unknown wrapper": (shared_library([WIDE], wrappers=[(3, 0)]), "a wrapper of unknown version"),
    "signature": (shared_library([WIDE], behind=b"~Module signature appended~\n"), "28 bytes"),
    "unknown code": (shared_library([fatbin_of(entry(32, 86, b"x" * SIZE))]), "kind kind-32"),
    "small": (shared_library([fatbin_of(code("sm_86"), code("sm_90", size=8))]), "nothing to save"),
    "not its pages": (shared_library([WIDE], page=0x100), "segments aligned to 256 bytes"),
    "what it should have": (shared_library([fatbin_with("sm_75")]), "nothing in it runs on 8.6"),
}


@pytest.mark.parametrize(("library", "reason"), NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_what_is_not_understood_stays_as_it_is(tmp_path: Path, library: bytes, reason: str) -> None:
    assert reason in refusal(tmp_path, library)


def test_a_program_stays_as_it_is(tmp_path: Path) -> None:
    whole = bytearray(shared_library([WIDE]))
    struct.pack_into("<H", whole, 16, 2)
    assert refusal(tmp_path, bytes(whole)) == "not a shared library"


def test_a_device_that_nothing_serves(tmp_path: Path) -> None:
    text = refusal(tmp_path, shared_library([HOPPER]), "8.6")
    assert text == "nothing in it runs on 8.6; it would have no code left"
    assert "runs on 12.0" in refusal(tmp_path, shared_library([HOPPER]), "9.0", "12.0")


def test_code_that_it_loads_by_itself(tmp_path: Path) -> None:
    library = shared_library([HOPPER], [WIDE]).replace(b"__nv_relfatbin", b"__nv_ownfatbin")
    text = "what runs on the devices is code that it loads by itself"
    assert refusal(tmp_path, library) == text


BLACKWELL = fatbin_with("sm_100f", "sm_120a")
NAMED = b"a description of kernels".ljust(1000)
ITEMS = [NAMED, HOPPER, WIDE, BLACKWELL, NAMED, HOPPER + bytes(8)]
RESOURCES = """
import ctypes, hashlib, sys
library = ctypes.CDLL(sys.argv[1])
first = ctypes.addressof(ctypes.c_uint64.in_dll(library, "text")) + 8
for end, start in zip(*[iter((ctypes.c_uint64 * (2 * int(sys.argv[2]))).from_address(first))] * 2):
    print(hashlib.sha256(ctypes.string_at(start, end - start)).hexdigest())
"""


def with_resources(listed: Sequence[tuple[int, int]] = ()) -> bytes:
    """A library that loads ITEMS by itself, from where a pair of pointers says that each is."""
    places = [len(WIDE) + sum(map(len, ITEMS[:i])) for i in range(len(ITEMS) + 1)]
    listed = listed or list(zip(places[1:], places[:-1], strict=True))
    library = shared_library([WIDE], ITEMS, wrappers=[(1, 0)], listed=listed)
    return library.replace(b"__nv_relfatbin", b".cask_resource")


def resources(path: Path) -> list[str]:
    command = [sys.executable, "-c", RESOURCES, str(path), str(len(ITEMS))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_code_that_it_loads_by_itself_where_it_lists_it(tmp_path: Path) -> None:
    path = slimmed(tmp_path, with_resources(), "8.6")
    assert archs(path) == [["sm_86"], [], archs(tmp_path / "lib.so")[2], [], []]
    before, after = resources(tmp_path / "lib.so"), resources(path)
    assert before == [hashlib.sha256(item).hexdigest() for item in ITEMS]
    assert [i for i in range(len(ITEMS)) if before[i] == after[i]] == [0, 2, 4]
    assert after[1] == after[3]  # a fatbin without a kernel
    assert path.stat().st_size < len(with_resources()) - 4 * SIZE


@pytest.mark.parametrize("shift", [(0, 8), (8, 0)], ids=["start", "end"])
def test_a_list_that_we_do_not_know(tmp_path: Path, shift: tuple[int, int]) -> None:
    places = [len(WIDE) + sum(map(len, ITEMS[:i])) for i in range(len(ITEMS) + 1)]
    listed = list(zip(places[1:], places[:-1], strict=True))
    listed[2] = (listed[2][0] - shift[1], listed[2][1] + shift[0])
    path = slimmed(tmp_path, with_resources(listed), "8.6")
    assert archs(path)[1:] == archs(tmp_path / "lib.so")[1:]


@pytest.mark.parametrize("item", [2, 3], ids=["kept", "gone"])
def test_resources_with_a_fault_replace_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, item: int
) -> None:
    written = shrink.Plan.write

    def faulty(plan: shrink.Plan, source: int, target: int) -> None:
        written(plan, source, target)
        found = fatbin.parse(os.pread(target, 1 << 30, 0)).fatbins[item]
        os.pwrite(target, b"\1", found.entries[0].offset)  # of another kind

    monkeypatch.setattr(shrink.Plan, "write", faulty)
    assert "the new file" in refusal(tmp_path, with_resources())


LARGE = entry(2, 86, cubin(86, "kernel") + b"abcd" * 50_000)


def test_what_was_not_compressed_is(tmp_path: Path) -> None:
    path = slimmed(tmp_path, shared_library([fatbin_of(LARGE, code("sm_90"))]), "8.6")
    [[one]] = [found.entries for found in fatbin.read(path).fatbins]
    assert (one.compression, one.arch) == ("zstd", "sm_86")
    assert one.size < one.uncompressed_size / 20
    data = path.read_bytes()
    assert compression.decompress(data[one.offset : one.offset + 64 + one.size]) == LARGE
    assert loaded(path, 1)[1:] == ["ba55ed50 2 86"]


def test_what_drivers_before_zstd_load_stays_as_it_is(tmp_path: Path) -> None:
    old = entry(2, 86, cubin(86, "kernel") + b"abcd" * 50_000, version=(1, 7))
    path = slimmed(tmp_path, shared_library([fatbin_of(old, code("sm_90"))]), "8.6")
    assert path.read_bytes().count(old) == 1


def test_without_a_compressor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "lib.so"
    path.write_bytes(shared_library([fatbin_of(LARGE, code("sm_90"))]))
    assert cli.main(["slim", str(path), "--for", "8.6", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "lib.so").read_bytes().count(LARGE) == 1
    assert "zstd is not in PATH: nothing was compressed" in capsys.readouterr().out


def test_a_compressor_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "zstd"
    program.write_text("#!/bin/sh\necho out of memory >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "lib.so"
    path.write_bytes(shared_library([fatbin_of(LARGE)]))
    with pytest.raises(Unavailable, match="zstd: out of memory"):
        slim_path(path, [device("8.6")], tmp_path / "out")


def test_a_compressed_entry_with_a_fault_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(data: bytes, *options: str) -> bytes:
        return data[:-8] + b"changed." if "--decompress" in options else data[: len(data) // 2]

    monkeypatch.setattr(compression, "_zstd", lossy)
    path = slimmed(tmp_path, shared_library([fatbin_of(LARGE, code("sm_90"))]), "8.6")
    assert path.read_bytes().count(LARGE) == 1


def test_one_that_is_slim_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = slimmed(tmp_path, shared_library([WIDE, HOPPER]), "8.6", "8.9")
    assert fatbin.read(path).mark == Mark((ComputeCapability(8, 6), ComputeCapability(8, 9)))
    again = slim_path(path, [device("rtx4090"), device("a6000")], tmp_path / "again")
    assert [one.why for one in again] == ["already slimmed for 8.6, 8.9"]
    assert not (tmp_path / "again").exists()
    with pytest.raises(InputError, match=r"was slimmed for 8\.6, 8\.9 and has no other code"):
        slim_path(path, [device("8.6")], tmp_path / "again")
    assert cli.main(["slim", str(path), "--for", "h100", "--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == (
        f"vllm-nix: {path}: was slimmed for 8.6, 8.9 and has no other code: slim the original;"
        " it stays as it is\n"
    )


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"slimmed-for": 3, "cuda": null}', b"\xff"])
def test_a_damaged_mark(text: bytes) -> None:
    with pytest.raises(ValueError, match="a damaged mark"):
        Mark.parse(text)


def test_a_library_with_a_damaged_mark(tmp_path: Path) -> None:
    data = slimmed(tmp_path, shared_library([WIDE]), "8.6").read_bytes()
    found = fatbin.parse(data.replace(b"slimmed-for", b"slimmed_for"))
    assert "a damaged mark" in str(found.damage[0])
    assert len(found.fatbins) == 1


def test_other_devices_are_reported(tmp_path: Path) -> None:
    library = read_library(slimmed(tmp_path, shared_library([WIDE, HOPPER]), "8.6"))
    assert judge_library(library, device("a6000")).verdict is Verdict.NATIVE
    for name in ("h100", "8.9"):
        judgement = judge_library(library, device(name))
        assert judgement.verdict is Verdict.MISSING
        assert judgement.why == "slimmed for 8.6: the code of other devices was removed"


def test_readelf_can_show_the_mark(tmp_path: Path) -> None:
    data = slimmed(tmp_path, shared_library([WIDE]), "8.6", cuda="13.0").read_bytes()
    [section] = [one for one in elf.parse(data).sections if one.name == ".note.vllm-nix"]
    owner, size, kind = struct.unpack_from("<III", data, section.offset)
    assert (data[section.offset + 12 :][:owner], kind) == (b"vllm-nix\0", 1)
    text = data[section.offset + 24 :][:size]
    assert json.loads(text) == {"slimmed-for": ["8.6"], "cuda": "13.0"}
    assert section.offset + 24 + size == section.offset + section.size


# What holds libraries


def record_of(site: Path, name: str) -> dict[str, list[str]]:
    with (site / f"{name}.dist-info/RECORD").open(newline="") as file:
        return {row[0]: row[1:] for row in csv.reader(file)}


def hashed(data: bytes) -> list[str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return [f"sha256={digest}", str(len(data))]


FILES = {
    "kernels/_C.so": shared_library([WIDE, HOPPER]),
    "kernels/_hopper.so": shared_library([HOPPER]),
    "kernels/_turing.so": shared_library([fatbin_with("sm_75")]),
    "kernels/plain.so": shared_library([b"\0" * 16], wrappers=[]),
    "kernels/__init__.py": b"print('hello')\n",
    "kernels-1.0.dist-info/METADATA": b"Name: kernels\nVersion: 1.0\n",
}


def rows(extra: Sequence[str] = ()) -> bytes:
    lines = [",".join([name, *hashed(data)]) for name, data in FILES.items()]
    return "\n".join([*lines, "kernels-1.0.dist-info/RECORD,,", *extra, ""]).encode()


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment, with a distribution that has libraries."""
    site = tmp_path / "venv/lib/python3.11/site-packages"
    for name, data in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(data)
    (site / "kernels-1.0.dist-info/RECORD").write_bytes(rows(["../../../bin/tool,,"]))
    (tmp_path / "venv/lib64").symlink_to("lib")
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/tool").symlink_to("/bin/sh")
    return tmp_path / "venv"


def check_environment(root: Path) -> None:
    site = root / "lib/python3.11/site-packages"
    assert archs(site / "kernels/_C.so") == [["sm_86"], []]
    assert archs(site / "kernels/_hopper.so") == [[]]
    record = record_of(site, "kernels-1.0")
    assert {name: record[name] for name in FILES} == {
        name: hashed((site / name).read_bytes()) for name in FILES
    }
    for name in ("_turing.so", "plain.so", "__init__.py"):
        assert (site / "kernels" / name).read_bytes() == FILES[f"kernels/{name}"]


def test_a_whole_environment(environment: Path, tmp_path: Path) -> None:
    found = slim_path(environment, [device("8.6")], tmp_path / "slim")
    site = Path("lib/python3.11/site-packages/kernels")
    assert {one.path: (one.is_slimmed, one.why) for one in found} == {
        site / "_C.so": (True, ""),
        site / "_hopper.so": (True, ""),
        site / "_turing.so": (False, "nothing in it runs on 8.6"),
    }
    check_environment(tmp_path / "slim")
    assert (tmp_path / "slim/lib64").readlink() == Path("lib")
    assert (tmp_path / "slim/bin/tool").readlink() == Path("/bin/sh").resolve()
    assert (environment / "lib" / "python3.11/site-packages/kernels/_C.so").read_bytes() == FILES[
        "kernels/_C.so"
    ]
    with pytest.raises(InputError, match="slim is there already"):
        slim_path(environment, [device("8.6")], tmp_path / "slim")


def test_an_environment_in_place(environment: Path) -> None:
    slim_path(environment, [device("8.6")], environment)
    check_environment(environment)
    again = slim_path(environment, [device("8.6")], environment)
    assert {one.path.name: one.why for one in again if "already" in one.why} == {
        "_C.so": "already slimmed for 8.6",
        "_hopper.so": "already slimmed for 8.6",
    }
    check_environment(environment)


def test_in_place_a_file_stays_whose_it_was(environment: Path) -> None:
    """Root slims a user's environment: owner, mode and attributes stay, of RECORD too."""
    site = environment / "lib/python3.11/site-packages"
    library, record = site / "kernels/_C.so", site / "kernels-1.0.dist-info/RECORD"
    record.chmod(0o664)
    mode = 0o4750
    try:
        library.chmod(mode)
    except PermissionError:  # as in Nix's sandbox
        mode = 0o750
    with suppress(OSError):  # not every file system has them
        os.setxattr(library, "user.note", b"mine")
    before = os.listxattr(library)
    if os.geteuid() == 0:
        for path in (library, record):
            os.chown(path, 12345, 54321)
    library.chmod(mode)
    wanted = [(path.stat().st_uid, path.stat().st_gid) for path in (library, record)]
    slim_path(environment, [device("8.6")], environment)
    assert archs(library) == [["sm_86"], []]
    assert [(path.stat().st_uid, path.stat().st_gid) for path in (library, record)] == wanted
    assert (library.stat().st_mode & 0o7777, record.stat().st_mode & 0o777) == (mode, 0o664)
    assert os.listxattr(library) == before


def test_out_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "lib.so").write_bytes(shared_library([WIDE]))
    made_wheel(tmp_path / "kernels-1.0-py3-none-any.whl")
    (tmp_path / "out").touch()
    for name in ("lib.so", "kernels-1.0-py3-none-any.whl"):
        for out in (tmp_path / "out", tmp_path / "out/further"):
            with pytest.raises(InputError, match=f"{out} is no folder; name another --out"):
                slim_path(tmp_path / name, [device("8.6")], out)


@pytest.mark.parametrize(
    ("asked", "place"), [("lib", "lib"), ("lib", "copy"), ("lib/libk.so", "lib")]
)
def test_links_within_a_folder_stay_links(tmp_path: Path, asked: str, place: str) -> None:
    """As of an soname: what they lead to is slimmed, not what would be a second file."""
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "libk.so.1.0").write_bytes(shared_library([WIDE, HOPPER]))
    (folder / "libk.so").symlink_to("libk.so.1.0")
    (folder / "libk.so.1").symlink_to(folder / "libk.so.1.0")
    out = tmp_path / place
    [found] = slim_path(tmp_path / asked, [device("8.6")], out)
    assert found.path.name == "libk.so.1.0"
    assert sorted(path.name for path in out.iterdir() if path.is_symlink()) == [
        "libk.so", "libk.so.1",
    ]  # fmt: skip
    assert archs(out / "libk.so") == archs(out / "libk.so.1.0") == [["sm_86"], []]


def test_a_row_of_record_that_was_wrong_stays_wrong(environment: Path, tmp_path: Path) -> None:
    """What was damaged before is not to look whole afterwards; neither here nor in a wheel."""
    site = Path("lib/python3.11/site-packages")
    wrong = rows().replace(hashed(FILES["kernels/_C.so"])[0].encode(), b"sha256=AAAA")
    for name, text in (("wrong", wrong), ("empty", wrong.replace(b"sha256=AAAA", b""))):
        (environment / site / "kernels-1.0.dist-info/RECORD").write_bytes(text)
        slim_path(environment, [device("8.6")], tmp_path / name)
        row = record_of(tmp_path / name / site, "kernels-1.0")["kernels/_C.so"]
        assert row == text.decode().splitlines()[0].split(",")[1:]
    path = made_wheel(tmp_path / "kernels-1.0-py3-none-any.whl", record=wrong)
    slim_path(path, [device("8.6")], tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / path.name) as wheel:
        text = wheel.read("kernels-1.0.dist-info/RECORD")
    assert text.splitlines()[0] == wrong.splitlines()[0]
    assert text.splitlines()[1] != wrong.splitlines()[1]


def test_a_copy_into_what_is_copied(environment: Path, tmp_path: Path) -> None:
    """It would be copied into itself, until the disk is full."""
    before = sorted(environment.rglob("*"))
    (tmp_path / "link").symlink_to(environment / "lib")
    for out in (environment / "slim", tmp_path / "link/python3.11/slim"):
        with pytest.raises(InputError, match=f"{out} is inside of {environment}"):
            slim_path(environment, [device("8.6")], out)
    assert sorted(environment.rglob("*")) == before


def test_what_is_read_only_is_not_slimmed_in_place(environment: Path) -> None:
    """As an environment in the Nix store, which root could write to."""
    site = environment / "lib/python3.11/site-packages/kernels"
    for folder, asked in ((environment, environment), (site, site / "_C.so")):
        folder.chmod(0o555)
        with pytest.raises(InputError, match=f"{folder} is read-only, as all of the Nix store is"):
            slim_path(asked, [device("8.6")], folder)
        folder.chmod(0o755)
    assert (site / "_C.so").read_bytes() == FILES["kernels/_C.so"]


def test_a_damaged_library_is_named(environment: Path) -> None:
    site = environment / "lib/python3.11/site-packages/kernels"
    (site / "_torn.so").write_bytes(FILES["kernels/_C.so"][:-100])
    [torn] = [one for one in slim_path(environment, [device("8.6")]) if "_torn" in str(one.path)]
    assert not torn.is_slimmed
    assert "goes beyond the file's" in torn.why


def test_a_reader_that_stops_reading(environment: Path) -> None:
    """The run ends without a word, and leaves whole libraries, some of them slim."""
    command = f"set -o pipefail; {sys.executable} -m vllm_nix slim {environment} --for 8.6 --out {environment} | true"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    slim_path(environment, [device("8.6")], environment)
    check_environment(environment)


def test_an_environment_that_was_slimmed_for_others(environment: Path) -> None:
    slim_path(environment, [device("8.6")], environment)
    for out in (None, environment, environment.with_name("other")):
        with pytest.raises(InputError, match=r"\.so was slimmed for 8\.6 .*; all stays as it is$"):
            slim_path(environment, [device("8.6"), device("9.0")], out)
    assert not environment.with_name("other").exists()
    assert not any(one.is_slimmed for one in slim_path(environment, [device("8.6")], environment))


def test_an_environment_of_links(environment: Path, tmp_path: Path) -> None:
    """As Nix makes them: folders with libraries are real ones, of links; others are links."""
    links = tmp_path / "links/lib/python3.11/site-packages"
    (links / "kernels").mkdir(parents=True)
    site = environment / "lib/python3.11/site-packages"
    for name in FILES:
        if name.startswith("kernels/"):
            (links / name).symlink_to(site / name)
    (links / "kernels-1.0.dist-info").symlink_to(site / "kernels-1.0.dist-info")
    before = (site / "kernels-1.0.dist-info/RECORD").read_bytes()
    slim_path(tmp_path / "links", [device("8.6")], tmp_path / "slim")
    check_environment(tmp_path / "slim")
    slim = tmp_path / "slim/lib/python3.11/site-packages"
    assert (slim / "kernels/plain.so").is_symlink()
    assert (slim / "kernels-1.0.dist-info/METADATA").is_symlink()
    assert (site / "kernels-1.0.dist-info/RECORD").read_bytes() == before


def made_wheel(path: Path, *more: str, record: bytes | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in FILES.items():
            info = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
            info.external_attr = 0o100755 << 16
            wheel.writestr(info, data, zipfile.ZIP_DEFLATED)
        for name in more:
            wheel.writestr(name, b"{}")
        wheel.writestr("kernels-1.0.dist-info/RECORD", rows() if record is None else record)
    return path


def test_a_wheel(tmp_path: Path) -> None:
    path = made_wheel(tmp_path / "kernels-1.0-py3-none-any.whl")
    before = path.read_bytes()
    measured = slim_path(path, [device("8.6")])
    assert sum(one.is_slimmed for one in measured) == 2
    slim_path(path, [device("8.6")], tmp_path / "out")
    assert path.read_bytes() == before
    new = tmp_path / "out" / path.name
    assert [*new.parent.iterdir()] == [new]
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(new) as wheel:
        assert wheel.namelist() == old.namelist()
        assert wheel.testzip() is None
        assert wheel.getinfo("kernels/_C.so").external_attr == 0o100755 << 16
        assert wheel.getinfo("kernels/_C.so").date_time == (2026, 1, 2, 3, 4, 6)
        wheel.extractall(tmp_path / "venv/lib/python3.11/site-packages")
    check_environment(tmp_path / "venv")
    with pytest.raises(InputError, match="is there already"):
        slim_path(path, [device("8.6")], tmp_path / "out")


def test_a_signed_and_a_damaged_wheel(tmp_path: Path) -> None:
    signed = made_wheel(tmp_path / "a-1-py3-none-any.whl", "kernels-1.0.dist-info/RECORD.jws")
    with pytest.raises(InputError, match=r"signed \(kernels-1\.0\.dist-info/RECORD\.jws\)"):
        slim_path(signed, [device("8.6")], tmp_path / "out")
    half = tmp_path / "b-1-py3-none-any.whl"
    half.write_bytes(signed.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated or damaged"):
        slim_path(half, [device("8.6")], tmp_path / "out")
    assert not [*(tmp_path / "out").glob("*"), *(tmp_path / "out").glob(".*")]


@pytest.mark.parametrize(
    ("more", "record", "reason"),
    [
        ([], b"kernels/\xff.so,,\n", "RECORD: not a RECORD: "),
        ([], b'"' + b"x" * 200_000, "RECORD: not a RECORD: "),
        (["../out.so"], None, "holds ../out.so, which is no path within a wheel"),
        (["/out.so"], None, "holds /out.so, which is no path within a wheel"),
    ],
)
def test_a_wheel_that_is_none(
    tmp_path: Path, more: list[str], record: bytes | None, reason: str
) -> None:
    path = made_wheel(tmp_path / "kernels-1.0-py3-none-any.whl", *more, record=record)
    with pytest.raises(InputError, match=re.escape(reason)):
        slim_path(path, [device("8.6")], tmp_path / "out")
    assert not [*(tmp_path / "out").iterdir()]


def test_a_record_that_is_none(environment: Path) -> None:
    record = environment / "lib/python3.11/site-packages/kernels-1.0.dist-info/RECORD"
    record.write_bytes(b"kernels/\xff.so,,\n")
    with pytest.raises(InputError, match="RECORD: not a RECORD: "):
        slim_path(environment, [device("8.6")], environment)
    assert (record.parents[1] / "kernels/_C.so").read_bytes() == FILES["kernels/_C.so"]


def test_a_wheel_that_unpacks_to_more_than_wheels_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slim_tree, "_LEAST_LIMIT", 1 << 20)
    path = tmp_path / "bomb-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("a.so", bytes(1 << 21))
    with pytest.raises(InputError, match="its libraries unpack to 2097152 bytes"):
        slim_path(path, [device("8.6")], tmp_path / "out")
    assert not [*(tmp_path / "out").iterdir()]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pipe", "not a regular file"),
        ("device", "a file of the kernel's"),
        ("gone", "No such file or directory"),
        ("many", "10001 libraries: more than a wheel has"),
    ],
)
def test_what_is_no_wheel(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "kernels-1.0-py3-none-any.whl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "many":
        with zipfile.ZipFile(path, "w") as wheel:
            for number in range(10_001):
                wheel.writestr(f"{number}.so", b"")
    for out in (None, tmp_path / "out"):
        with pytest.raises(InputError, match=f"^{path}: {said}"):
            slim_path(path, [device("8.6")], out)


def test_an_environment_that_a_device_finds_nothing_in(environment: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing in it runs on 7\.0; it would have no code"):
        slim_path(environment, [device("8.6"), device("7.0")], tmp_path / "slim")
    assert not (tmp_path / "slim").exists()
    with pytest.raises(InputError, match="no shared library with GPU code"):
        slim_path(environment / "bin", [device("8.6")])


# Misfortune


def test_a_full_disk(environment: Path, tmp_path: Path) -> None:
    """The kernel refuses a file of more than the limit, as it does on a full disk."""
    library = environment / "lib/python3.11/site-packages/kernels/_C.so"
    before = library.read_bytes()
    command = [sys.executable, "-m", "vllm_nix", "slim", str(environment), "--for", "8.6", "--out"]

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    for out in (environment, tmp_path / "slim"):
        done = subprocess.run(
            [*command, str(out)], capture_output=True, text=True, check=False, preexec_fn=limited
        )
        assert done.returncode == 3
        assert done.stderr.count("\n") == 1
        assert "File too large" in done.stderr
        assert library.read_bytes() == before
    assert sorted(path.name for path in library.parent.iterdir()) == [
        "_C.so", "__init__.py", "_hopper.so", "_turing.so", "plain.so",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_an_end_in_the_middle(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    written = shrink.Plan.write

    def failing(plan: shrink.Plan, source: int, target: int) -> None:
        written(plan, source, target)
        raise error

    monkeypatch.setattr(shrink.Plan, "write", failing)
    expected = Unavailable if isinstance(error, OSError) else KeyboardInterrupt
    for out in (environment, tmp_path / "slim"):
        with pytest.raises(expected):
            slim_path(environment, [device("8.6")], out)
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]
    library = environment / "lib/python3.11/site-packages/kernels/_C.so"
    assert library.read_bytes() == FILES["kernels/_C.so"]
    assert not [*library.parent.glob(".*")]


def test_record_stays_true_where_a_run_is_cut_off(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first library is replaced, the second is not."""
    written = shrink.Plan.write
    count = iter(range(9))

    def failing(plan: shrink.Plan, source: int, target: int) -> None:
        if next(count):
            raise KeyboardInterrupt
        written(plan, source, target)

    monkeypatch.setattr(shrink.Plan, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        slim_path(environment, [device("8.6")], environment)
    site = environment / "lib/python3.11/site-packages"
    assert (site / "kernels/_C.so").read_bytes() != FILES["kernels/_C.so"]
    assert (site / "kernels/_hopper.so").read_bytes() == FILES["kernels/_hopper.so"]
    record = record_of(site, "kernels-1.0")
    assert {name: record[name] for name in FILES} == {
        name: hashed((site / name).read_bytes()) for name in FILES
    }


KILLED = """
import os, sys
from pathlib import Path
from vllm_nix.gpu import slim_tree
from vllm_nix.gpu.device import device
slim_tree._Records.entered = lambda *_: os.kill(os.getpid(), 9)
slim_tree.slim_path(Path(sys.argv[1]), [device("8.6")], Path(sys.argv[2]))
"""


@pytest.mark.parametrize("place", ["venv", "slim", "wheels"])
def test_what_a_killed_run_left(environment: Path, tmp_path: Path, place: str) -> None:
    """The next one removes what was half-written, and enters what was replaced."""
    path, out = environment, tmp_path / place
    if place == "wheels":
        path = made_wheel(tmp_path / "kernels-1.0-py3-none-any.whl")
    killed = subprocess.run([sys.executable, "-c", KILLED, path, out], check=False)
    assert killed.returncode == -signal.SIGKILL
    library = environment / "lib/python3.11/site-packages/kernels/_hopper.so"
    library.with_name("._hopper.so.8h_x2y.new").touch()
    slim_path(path, [device("8.6")], out)
    assert not [*tmp_path.glob(".*")]
    if place == "venv":
        assert not [*library.parent.glob(".*")]
    if place != "wheels":
        check_environment(out)


def test_what_another_run_still_writes(environment: Path, tmp_path: Path) -> None:
    library = environment / "lib/python3.11/site-packages/kernels/_C.so"
    with scratch.file_beside(library) as (new, _):
        new.write_bytes(library.read_bytes())
        found = slim_path(environment, [device("8.6")])
        assert new.name not in {one.path.name for one in found}


def test_an_environment_that_leads_elsewhere(
    environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To all files of the machine, for one; what it leads to is not slimmed in place either."""
    site = environment / "lib/python3.11/site-packages"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/_C.so").write_bytes(FILES["kernels/_C.so"])
    for name, end in {"all": "/", "other": f"{tmp_path}/other", "loop": str(site)}.items():
        (site / name).symlink_to(end)
    for out in (tmp_path / "slim", environment):
        assert cli.main(["slim", str(environment), "--for", "8.6", "--out", str(out)]) == 0
        shown = capsys.readouterr()
        assert "3 would" not in shown.out
        assert "site-packages/all stays as it is: a link to / is not followed" in shown.err
        assert f"other stays as it is: a link to {tmp_path}/other is" in shown.err
    assert (tmp_path / "other/_C.so").read_bytes() == FILES["kernels/_C.so"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pipe", "RECORD: not a regular file"),
        ("kernel's", "RECORD: a file of the kernel's"),
        ("hole", "RECORD: larger than 67108864 bytes"),
        ("rows", "RECORD: more than 300000 rows"),
    ],
)
def test_a_record_without_end(environment: Path, tmp_path: Path, kind: str, said: str) -> None:
    record = environment / "lib/python3.11/site-packages/kernels-1.0.dist-info/RECORD"
    if kind == "pipe":
        record.unlink()
        os.mkfifo(record)
    elif kind == "kernel's":
        record.unlink()
        record.symlink_to("/proc/kmsg")
    elif kind == "hole":
        os.truncate(record, 1 << 40)
    else:
        record.write_bytes(b"a,,\n" * 400_000)
    for out in (tmp_path / "slim", environment):
        with pytest.raises(InputError, match=f"{record.parent}/{said}"):
            slim_path(environment, [device("8.6")], out)


def test_a_wheels_record_without_end(tmp_path: Path) -> None:
    for record, said in (
        (b"\0" * (1 << 27), "larger than"),
        (b"\xff\xfe", "not a RECORD"),
        (b"a" * 200_000, "not a RECORD"),
    ):
        wheel = tmp_path / "kernels-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("kernels/_C.so", FILES["kernels/_C.so"])
            file.writestr("kernels-1.0.dist-info/RECORD", record)
        with pytest.raises(InputError, match=f"dist-info/RECORD: {said}"):
            slim_path(wheel, [device("8.6")], tmp_path / "slim")
        assert not [*(tmp_path / "slim").iterdir()]


def test_holes_stay_holes(environment: Path, tmp_path: Path) -> None:
    holed = environment / "model.bin"
    with holed.open("wb") as file:
        file.write(b"first")
        file.seek(1 << 41)
        file.write(b"last")
        file.truncate(1 << 42)
    slim_path(environment, [device("8.6")], tmp_path / "slim")
    copy = tmp_path / "slim/model.bin"
    assert copy.stat().st_size == 1 << 42
    assert copy.stat().st_blocks <= holed.stat().st_blocks
    with copy.open("rb") as file:
        assert file.read(5) == b"first"
        file.seek(1 << 41)
        assert file.read(4) == b"last"


def test_an_immutable_file(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: Path, target: Path) -> Path:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path), None, str(target))

    monkeypatch.setattr(Path, "replace", refused)
    library = environment / "lib/python3.11/site-packages/kernels/_C.so"
    assert cli.main(["slim", str(environment), "--for", "8.6", "--out", str(environment)]) == 3
    error = capsys.readouterr().err
    assert error == (
        f"vllm-nix: {library}: Operation not permitted (immutable, append-only or another user's;"
        " `lsattr -d` and `ls -ld` say which); nothing was replaced by it; make it your own to write,"
        " or name another --out\n"
    )
    assert library.read_bytes() == FILES["kernels/_C.so"]
    assert not [*library.parent.glob(".*")]


def test_a_signed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listxattr", lambda _: ["security.ima", "user.note"])
    assert refusal(tmp_path, shared_library([WIDE])) == "signed (security.ima)"


FAULTS: dict[str, Callable[[bytearray], None]] = {
    "code": lambda data: _flip(data, data.index(code("sm_86")) + 500),
    "what lies behind": lambda data: _flip(data, data.index(TEXT_AFTER)),
    "the mark": lambda data: _flip(data, data.index(b"slimmed-for")),
    "a pointer": lambda data: _flip(
        data, data.index(struct.pack("<IIQ", 0x466243B1, 1, 0)[:8]) + 8
    ),
}


def _flip(data: bytearray, place: int) -> None:
    data[place] ^= 1


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_new_file_with_a_fault_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[bytearray], None]
) -> None:
    written = shrink.Plan.write

    def faulty(plan: shrink.Plan, source: int, target: int) -> None:
        written(plan, source, target)
        data = bytearray(os.pread(target, 1 << 30, 0))
        fault(data)
        os.pwrite(target, data, 0)

    monkeypatch.setattr(shrink.Plan, "write", faulty)
    refusal(tmp_path, shared_library([WIDE, AMPERE]))


def test_a_new_file_that_does_not_load_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loading.load

    def load(library: Path, *args: Any, **options: Any) -> loading.Loaded:
        is_new = library.name.endswith(".new")
        return loading.Loaded("cannot map it") if is_new else real(library, *args, **options)

    monkeypatch.setattr(loading, "load", load)
    text = refusal(tmp_path, shared_library([WIDE]))
    assert text == "the new file does not load: cannot map it"


def test_what_loading_runs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = tmp_path / "python"
    greedy.write_text(f"#!{sys.executable}\nkept = []\nwhile True: kept.append(b'x' * (1 << 20))\n")
    greedy.chmod(0o755)
    monkeypatch.setattr(process, "free_memory", lambda: 200 << 20)
    said = loading.load(tmp_path / "x.so", python=greedy).error
    assert said == "more than 0.1 GiB of memory"


def test_loading_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    for machine, loads in ((62, True), (183, None)):
        path.write_bytes(shared_library([WIDE], machine=machine))
        found = slim.write(path, tmp_path / "new.so", [device("8.6")], Neighbours(tmp_path))
        assert (found.is_slimmed, found.loads) == (True, loads)


def test_a_driver_that_is_not_here_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(shared_library([WIDE], tags=[NEEDS_DRIVER]))
    assert slim.write(path, tmp_path / "new.so", [device("8.6")], Neighbours(tmp_path)).loads


def test_damage_anywhere(tmp_path: Path) -> None:
    """Whatever a damaged file is: it is refused, or what is written holds and reads as it should."""
    whole = shared_library([WIDE, AMPERE], [AMPERE])
    chance = random.Random(12)
    size = elf.parse(whole)
    tables = [*range(600), *range(size.sections[6].offset, len(whole))]
    outcomes = set()
    for number in range(400):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.choice(tables)] = chance.choice([0, 1, 0x7F, 0xFF, chance.randrange(256)])
        path = tmp_path / f"{number}.so"
        path.write_bytes(data)
        outcomes.add(_try(path, [device("8.6")]))
        path.unlink()
    assert outcomes == {True, False}


def _try(path: Path, devices: list[Device]) -> bool:
    before = path.read_bytes()
    try:
        return slim.measure(path, devices).is_slimmed
    except Error:
        return False
    finally:
        assert path.read_bytes() == before


# The command


def test_the_command(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["slim", str(environment), "--for", "a6000"]) == 0
    captured = capsys.readouterr()
    assert captured.err == (
        "vllm-nix: lib/python3.11/site-packages/kernels/_turing.so stays as it is: "
        "nothing in it runs on a6000 (8.6)\n"
    )
    assert captured.out.splitlines()[-1].endswith("2 of 3 would be slimmed")
    assert cli.main(["slim", str(environment), "--for", "a6000", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    [c] = [one for one in answer["libraries"] if one["path"].endswith("_C.so")]
    assert c["slimmed"]
    assert c["serves"] == ["8.6"]
    assert c["before"] == len(FILES["kernels/_C.so"]) > c["after"]
    assert answer["after"] == sum(one["after"] for one in answer["libraries"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/nowhere/lib.so", "--for", "8.6"], "/nowhere/lib.so: No such file or directory"),
        (["/nowhere/lib.so", "--for", "rtx1"], "unknown device 'rtx1'"),
        (["/nowhere/lib.so", "--for", "8.6", "--cuda", "x"], "unknown CUDA release 'x'"),
    ],
)
def test_wrong_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["slim", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
