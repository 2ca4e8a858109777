from pathlib import Path

import pytest
from made_binaries import elf_file

from vllm_nix.binaries import elf
from vllm_nix.binaries.linker import Linker, _configured, base_folders

NEEDED, RPATH, RUNPATH = 1, 15, 29


def missing(file: Path, *tags: tuple[int, bytes], folders: tuple[Path, ...] = ()) -> list[str]:
    image = elf.parse(elf_file(tags=list(tags)))
    return list(Linker(folders, provided={"libdriver.so.1"}).missing(file, image))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "libx.so").touch()
    return tmp_path


def test_origin_is_the_folder_by_which_it_was_found(tree: Path) -> None:
    needs = [(NEEDED, b"libx.so"), (RUNPATH, b"/none:$ORIGIN/../b")]
    assert missing(tree / "a" / "f.so", *needs) == []
    assert missing(tree / "f.so", *needs) == ["libx.so"]
    assert missing(tree / "a" / "f.so", needs[0], (RUNPATH, b"${ORIGIN}/../b")) == []


def test_runpath_overrules_rpath(tree: Path) -> None:
    needs = [(NEEDED, b"libx.so"), (RPATH, b"$ORIGIN/../b")]
    assert missing(tree / "a" / "f.so", *needs) == []
    assert missing(tree / "a" / "f.so", *needs, (RUNPATH, b"/none")) == ["libx.so"]


def test_other_places(tree: Path) -> None:
    file = tree / "a" / "f.so"
    assert missing(file, (NEEDED, b"libx.so"), folders=(tree / "b",)) == []
    assert missing(file, (NEEDED, b"libdriver.so.1")) == []
    assert missing(file, (NEEDED, b"../b/libx.so")) == []
    assert missing(file, (NEEDED, b"../b/liby.so")) == ["../b/liby.so"]


def test_a_library_for_another_processor_is_passed_over(tree: Path) -> None:
    (tree / "b" / "libx.so").write_bytes(elf_file(machine=183))
    needs = (NEEDED, b"libx.so"), (RUNPATH, b"$ORIGIN/b:$ORIGIN/c")
    assert missing(tree / "f.so", *needs) == ["libx.so"]
    (tree / "c").mkdir()
    (tree / "c" / "libx.so").write_bytes(elf_file())
    assert missing(tree / "f.so", *needs) == []


def test_dangling_link_is_missing(tree: Path) -> None:
    (tree / "b" / "libx.so").unlink()
    (tree / "b" / "libx.so").symlink_to("gone")
    assert missing(tree / "f.so", (NEEDED, b"libx.so"), folders=(tree / "b",)) == ["libx.so"]


def test_static_file_needs_nothing(tree: Path) -> None:
    assert list(Linker(()).missing(tree / "f", elf.parse(elf_file()))) == []


def test_base_of_a_program(tree: Path) -> None:
    program = tree / "a" / "python"
    loader = str(tree / "lib" / "ld.so").encode() + b"\0"
    program.write_bytes(elf_file(interpreter=loader, tags=[(RPATH, b"$ORIGIN/../lib:/opt/lib")]))
    assert base_folders(program) == (
        tree / "a" / ".." / "lib",
        Path("/opt/lib"),
        tree / "lib",
    )


def test_loader_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "ld.so.conf").write_text(
        f"# comment\ninclude {tmp_path}/conf.d/*.conf\n/last # comment\nhwcap 1 nosegneg\n"
    )
    (tmp_path / "conf.d" / "b.conf").write_text("/second\n")
    (tmp_path / "conf.d" / "a.conf").write_text("/first\ninclude a.conf\n")
    found = list(_configured(str(tmp_path / "ld.so.conf"), depth=4))
    assert found[0] == "/first"
    assert found[-2:] == ["/second", "/last"]
