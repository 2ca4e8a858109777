import importlib
import struct
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_binaries import ALLOC, BASE, NOBITS, Part, elf_file, label

from vllm_nix.binaries import elf

SAMPLE = elf_file(
    Part(".text", b"\x90" * 32),
    Part(".bss", b"\0" * 4096, NOBITS),
    interpreter=b"/lib/ld.so\0",
    tags=[(1, b"liba.so.1"), (14, b"libme.so"), (1, b"libb.so"), (29, b"$ORIGIN:/opt/lib")],
)
SHOFF = struct.unpack_from("<Q", SAMPLE, 0x28)[0]
INTERP, LOAD = 64, 64 + 2 * 56


def test_the_loaders_view() -> None:
    found = elf.parse(SAMPLE)
    assert (found.machine, found.type, found.interpreter) == (62, 3, "/lib/ld.so")
    assert found.dynamic == elf.Dynamic(
        ("liba.so.1", "libb.so"), "libme.so", (), ("$ORIGIN", "/opt/lib")
    )


def test_sections() -> None:
    by_name = {section.name: section for section in elf.parse(SAMPLE).sections}
    assert list(by_name) == ["", ".interp", ".dynstr", ".dynamic", ".text", ".bss", ".shstrtab"]
    text = by_name[".text"]
    assert SAMPLE[text.offset : text.offset + text.size] == b"\x90" * 32
    assert text.address == text.offset + BASE
    assert text.flags == ALLOC
    assert by_name[".bss"].size == 4096


def test_rpath_and_its_empty_parts() -> None:
    found = elf.parse(elf_file(tags=[(15, b"/a::/b"), (29, b"")]))
    assert found.dynamic
    assert found.dynamic.rpath == ("/a", "", "/b")
    assert found.dynamic.runpath == ()


def test_section_headers_are_not_needed() -> None:
    bare = elf_file(tags=[(1, b"liba.so.1")], section_headers=False)
    found = elf.parse(bare)
    assert found.sections == ()
    assert found.dynamic
    assert found.dynamic.needed == ("liba.so.1",)


def test_static_files_have_no_dynamic_part() -> None:
    found = elf.parse(elf_file(Part(".text", b"\x90")))
    assert (found.dynamic, found.interpreter) == (None, None)


def test_counts_too_large_for_the_header_are_in_the_first_section() -> None:
    image = bytearray(SAMPLE)
    (phnum, shnum, names) = struct.unpack_from("<H2xHH", image, 0x38)
    struct.pack_into("<H", image, 0x38, 0xFFFF)
    struct.pack_into("<HH", image, 0x3C, 0, 0xFFFF)
    struct.pack_into("<QII", image, SHOFF + 0x20, shnum, names, phnum)
    changed, original = elf.parse(bytes(image)), elf.parse(SAMPLE)
    assert changed.segments == original.segments
    assert changed.sections[1:] == original.sections[1:]


def test_a_name_that_is_no_text_can_be_printed() -> None:
    found = elf.parse(elf_file(tags=[(1, b"lib\xff.so")]))
    assert found.dynamic
    assert found.dynamic.needed == ("lib\\xff.so",)
    found.dynamic.needed[0].encode()


def patched(offset: int, data: bytes) -> bytes:
    return SAMPLE[:offset] + data + SAMPLE[offset + len(data) :]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "not an ELF file"),
        (b"MZ" + bytes(100), "not an ELF file"),
        (SAMPLE[:40], "header cut off at offset 0x28"),
        (patched(4, b"\x01"), "not a 64-bit ELF file: class 1 at offset 0x4"),
        (patched(5, b"\x02"), "not a little-endian ELF file: encoding 2 at offset 0x5"),
        (patched(0x36, b"\x20\0"), "program headers of 32 bytes"),
        (patched(0x3A, b"\x28\0"), "section headers of 40 bytes"),
        (patched(0x3E, b"\x60\0"), "section names in section 96 of 7"),
        (patched(0x20, b"\xff" * 8), "program headers of .* beyond the file's"),
        (patched(0x28, b"\xff" * 8), "section header of .* beyond the file's"),
        (patched(0x38, b"\xf0\xff"), "program headers of .* beyond the file's"),
        (patched(LOAD + 0x20, b"\xff" * 8), "segment of .* beyond the file's"),
        (patched(LOAD + 0x10, b"\xff" * 8), "bytes at address 0x10.* are in no segment"),
        (patched(LOAD, b"\x02"), "2 segments PT_DYNAMIC"),
        (patched(INTERP + 0x20, b"\x04"), "text without an end"),
        (patched(SHOFF + 64 * 4 + 0x20, b"\xff" * 8), "section of .* beyond the file's"),
        (patched(SHOFF + 64 * 4, b"\xff\xff"), "text without an end"),
        (
            patched(0x3C, b"\0\0")[:SHOFF] + bytes(32) + b"\xff" * 32 + SAMPLE[SHOFF + 64 :],
            "18446744073709551615 entries, more than",
        ),
        (elf_file(tags=[(1, b"a"), (0, 0)]), "dynamic section without string table"),
    ],
    ids=label,
)
def test_what_is_wrong_is_said(image: bytes, message: str) -> None:
    with pytest.raises(elf.ElfError, match=message):
        elf.parse(image)


def test_each_truncation_is_noticed() -> None:
    for length in range(len(SAMPLE)):
        with pytest.raises(elf.ElfError):
            elf.parse(SAMPLE[:length])


def test_overlapping_names_cost_little() -> None:
    # 20,000 sections whose names all start in one text of a megabyte
    image = bytearray(elf_file(Part("x" * 1_000_000)))
    (shoff,) = struct.unpack_from("<Q", image, 0x28)
    first = bytes(image[shoff : shoff + 64])
    names = bytes(image[-64:])
    body = b"".join(struct.pack("<II56x", 1 + index, 0) for index in range(20_000))
    image[shoff:] = first + names + body
    struct.pack_into("<HH", image, 0x3C, 20_002, 1)
    with pytest.raises(elf.ElfError, match="overlapping or endless text"):
        elf.parse(bytes(image))


patches = st.lists(
    st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=8)), max_size=6
)


@settings(max_examples=1000)
@given(patches, st.integers(0, len(SAMPLE)))
def test_damage_is_an_elf_error_and_nothing_else(
    changes: list[tuple[int, bytes]], length: int
) -> None:
    image = bytearray(SAMPLE)
    for offset, data in changes:
        image[offset : offset + len(data)] = data
    for candidate in (bytes(image), bytes(image[:length])):
        try:
            elf.parse(candidate)
        except elf.ElfError as error:
            assert str(error)


def test_read_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(SAMPLE)
    assert elf.read(tmp_path / "good") == elf.parse(SAMPLE)
    (tmp_path / "empty").touch()
    with pytest.raises(elf.ElfError, match=r"/empty: an empty file"):
        elf.read(tmp_path / "empty")
    with pytest.raises(elf.ElfError, match="not a regular file"):
        elf.read(tmp_path)


def test_agrees_with_pyelftools_on_real_files() -> None:
    elffile = importlib.import_module("elftools.elf.elffile")  # has no types
    folder = Path(str(sysconfig.get_config_var("DESTSHARED")))
    files = [Path(sys.executable).resolve(), *sorted(folder.glob("*.so"))]
    assert len(files) > 10
    for path in files:
        found = elf.read(path)
        with path.open("rb") as file:
            other = elffile.ELFFile(file)
            tags = [
                tag for segment in other.iter_segments("PT_DYNAMIC") for tag in segment.iter_tags()
            ]
            assert found.dynamic
            assert list(found.dynamic.needed) == [
                tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"
            ]
            assert [section.name for section in found.sections] == [
                section.name for section in other.iter_sections()
            ]
            assert [segment.offset for segment in found.segments] == [
                segment["p_offset"] for segment in other.iter_segments()
            ]
