"""The walk over an environment's files, and what it refuses to open."""

import os
import threading
from pathlib import Path

import pytest
from made_binaries import elf_file

from vllm_nix.binaries import elf, files
from vllm_nix.binaries.files import check_regular, open_regular, read_binaries, walk


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "a.so").write_bytes(elf_file())
    (folder / "text.py").touch()
    return folder


def test_links_are_followed_as_far_as_the_environment_reaches(tree: Path, tmp_path: Path) -> None:
    elsewhere, within = tmp_path / "elsewhere", tmp_path / "store"
    for folder in (elsewhere, within):
        folder.mkdir()
        (folder / "b.so").write_bytes(elf_file())
    (tree / "away").symlink_to(elsewhere)
    (tree / "in").symlink_to(within)
    (tree / "root").symlink_to("/")
    (tree / "again").symlink_to(tree)
    (tree / "file.so").symlink_to(elsewhere / "b.so")
    found = walk(tree, [within])
    assert set(found.files) == {tree / "a.so", tree / "file.so", tree / "in/b.so"}
    assert found.links_out == {tree / "away": str(elsewhere), tree / "root": "/"}
    assert set(walk(tree).files) == {tree / "a.so", tree / "file.so"}


@pytest.mark.parametrize("file", ["/proc/kmsg", "/proc/kcore", "/proc/self/status"])
def test_files_of_the_kernel_are_not_opened(tree: Path, file: str) -> None:
    if not os.path.exists(file):  # noqa: PTH110 -- /proc/kmsg may not be this user's to look at
        pytest.skip(f"no {file}")
    (tree / "lib.so").symlink_to(file)
    assert set(walk(tree).files) == {tree / "a.so"}
    with pytest.raises(OSError, match="of the kernel's"):
        open_regular(tree / "lib.so")


def test_folders_of_the_kernel_are_not_entered(tree: Path) -> None:
    (tree / "proc").symlink_to("/proc")
    assert walk(tree).links_out == {tree / "proc": "/proc"}
    kernels = "a file system of the kernel's (proc, sysfs)"
    assert walk(tree, [Path("/proc")]).left_out == {tree / "proc": kernels}


@pytest.mark.parametrize("special", ["/dev/null", "fifo"])
def test_what_is_not_regular_is_not_opened(tree: Path, special: str) -> None:
    os.mkfifo(tree / "fifo")
    (tree / "lib.so").symlink_to(special)
    assert set(walk(tree).files) == {tree / "a.so"}
    with pytest.raises(OSError, match=r"not a regular file|of the kernel's"):
        open_regular(tree / "lib.so")
    check_regular((tree / "a.so").stat(), tree / "a.so")


def test_a_real_file_is_parsed_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "link.so").symlink_to("a.so")
    read = elf.read
    calls: list[object] = []

    def counted(file: Path) -> elf.Elf:
        calls.append(file)
        return read(file)

    monkeypatch.setattr(elf, "read", counted)
    assert set(read_binaries(walk(tree)).images) == {tree / "a.so", tree / "link.so"}
    assert len(calls) == 1


def test_budget_of_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_FILES", 1)
    assert walk(tree).left_out == {tree: "more than 1 files: the rest is not looked at"}


def test_stops(tree: Path) -> None:
    stop = threading.Event()
    found = walk(tree, stop=stop)
    stop.set()
    with pytest.raises(InterruptedError):
        walk(tree, stop=stop)
    with pytest.raises(InterruptedError):
        read_binaries(found, stop)
