"""Files of the user's, who may have been given them."""

import os
from pathlib import Path

import pytest

from vllm_nix.binaries import files
from vllm_nix.errors import InputError
from vllm_nix.paths import MOST_TEXT, check_writable, expand, read_text, read_toml


def test_a_text_is_a_file_and_has_an_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, error in (("pipe", "not a regular file"), ("/dev/zero", "not a regular file")):
        with pytest.raises(OSError, match=error):
            read_text(tmp_path / name)
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 1 << 40)
    with pytest.raises(ValueError, match=f"larger than {MOST_TEXT >> 20} MiB"):
        read_text(tmp_path / "hole")
    with pytest.raises(ValueError, match="larger than"):
        read_text(Path("/dev/zero"), or_pipe=True)
    with pytest.raises(InputError, match=r"^x: larger than"):
        read_toml(tmp_path / "hole", "x")


def test_a_file_that_cannot_even_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--html .*: File name too long; give another file"):
        check_writable("--html", tmp_path / ("x" * 300))


def test_no_home_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    with pytest.raises(InputError, match=r"^~/models: no home folder is known: set HOME$"):
        expand("~/models")


def test_a_kernels_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /proc/kmsg is, whose reading takes away what is there."""
    reader, _ = os.pipe()
    os.set_blocking(reader, False)
    asked = []

    def opened(_: object, how: int) -> int:
        asked.append(how)
        return reader

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(OSError, match="it is waited for"):
        read_text(tmp_path / "kmsg", or_pipe=True)
    assert asked == [os.O_RDONLY | os.O_NONBLOCK]


def test_a_copy_has_the_holes_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "hole").write_bytes(b"first")
    os.truncate(tmp_path / "hole", 1 << 40)
    files.copy(tmp_path / "hole", tmp_path / "copy")
    copy = (tmp_path / "copy").stat()
    assert (copy.st_size, copy.st_blocks <= 16) == (1 << 40, True)
    with pytest.raises(OSError, match="not read"):
        files.copy("/proc/self/mem", tmp_path / "memory")
