"""Store paths as Nix computes them, and the store itself."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from vllm_nix.errors import Error, Unavailable
from vllm_nix.store import add_files, base32, fixed_path, missing_paths, store_name


def test_base32_of_the_nix_manual() -> None:
    # `nix-hash --type sha256 --to-base32` of the hash of nothing
    nothing = hashlib.sha256(b"").digest()
    assert base32(nothing) == "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"


@pytest.mark.nix
@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("name", ["torch-2.13.0+cpu-cp311.whl", "x"])
@pytest.mark.usefixtures("private_store")
def test_fixed_path_is_the_one_of_nix(name: str, recursive: bool) -> None:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    kind = ["--recursive"] if recursive else []
    command = ["nix-store", "--print-fixed-path", *kind, "sha256", sha256, name]
    wanted = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert str(fixed_path(name, sha256, recursive=recursive)) == wanted


def test_store_name_replaces_what_a_store_path_cannot_hold() -> None:
    assert store_name("libssl3_3.0~deb12u2%3a1_amd64.deb") == "libssl3_3.0-deb12u2-3a1_amd64.deb"
    assert store_name("torch-2.13.0+cpu.whl") == "torch-2.13.0+cpu.whl"


@pytest.mark.nix
@pytest.mark.usefixtures("private_store")
def test_an_added_file_is_not_missing_any_more(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("content")
    path = fixed_path("file.txt", hashlib.sha256(b"content").hexdigest())
    assert missing_paths([path]) == {path}
    assert add_files([file]) == [path]
    assert missing_paths([path]) == set()
    assert path.read_text() == "content"


@pytest.mark.nix
@pytest.mark.usefixtures("private_store")
def test_what_nix_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"^nix-store --add-fixed failed: .*no-such-file.*$"):
        add_files([tmp_path / "no-such-file"])


@pytest.mark.parametrize("home", ["", "/nowhere"])
def test_nix_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    """It wants one, though there is nothing to be found there."""
    (tmp_path / "nix-store").write_text('#!/bin/sh\nmkdir -p "$OUT" && echo "$HOME" >"$OUT/home"\n')
    (tmp_path / "nix-store").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setenv("HOME", home or str(tmp_path))
    missing_paths([Path("/nix/store/x")])
    assert (tmp_path / "home").read_text() == f"{'/homeless-shelter' if home else tmp_path}\n"


def test_without_nix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match=r"nix-store is not on PATH; .*apt-get install nix-bin"):
        missing_paths([Path("/nix/store/x")])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Permission denied", "Nix's daemon is not open to this user; .*group nix-users: sudo add"),
        ("Connection refused", "Nix's daemon does not answer: .*Connection refused"),
    ],
)
def test_a_daemon_that_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, message: str
) -> None:
    program = tmp_path / "nix-store"
    text = f"error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': {said}"
    program.write_text(f'#!/bin/sh\necho "{text}" >&2; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=message):
        missing_paths([Path("/nix/store/x")])
