"""Which mirror apt is configured with, and reading a package."""

from pathlib import Path

import pytest
from debs import make_deb

from vllm_nix.errors import Error, Unavailable
from vllm_nix.fetching.apt import find_mirror, read_member


@pytest.fixture
def apt_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that `apt-get indextargets` prints: address|codename|release|label."""
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = indextargets ] && exec /bin/cat {tmp_path}/lists\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return tmp_path / "lists"


@pytest.mark.parametrize(
    ("lists", "address"),
    [
        (
            [
                "https://security.example|bookworm-security|bookworm-security|Debian-Security",
                "https://mirror.example/debian|bookworm|bookworm|Debian",
            ],
            "https://mirror.example/debian",
        ),
        # before the first `apt-get update` there is no label and no codename
        (["https://mirror.example/debian||bookworm|"], "https://mirror.example/debian"),
        # a newer Debian shares the pool
        (
            [
                "https://other.example|trixie|trixie|Other",
                "https://mirror.example/debian|trixie|trixie|Debian",
            ],
            "https://mirror.example/debian",
        ),
    ],
)
def test_the_mirror_with_the_suite(apt_lists: Path, lists: list[str], address: str) -> None:
    apt_lists.write_text("\n".join(lists) + "\n")
    assert find_mirror("bookworm", "main") == address


def test_the_first_of_a_list_of_mirrors(apt_lists: Path, tmp_path: Path) -> None:
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text("https://first.example/debian\nhttps://second.example/debian\n")
    apt_lists.write_text(f"mirror+file:{mirrors}/|bookworm|bookworm|Debian\n")
    assert find_mirror("bookworm", "main") == "https://first.example/debian"


def test_no_debian_at_all(apt_lists: Path) -> None:
    apt_lists.write_text("https://mirror.example/ubuntu|jammy|jammy|Ubuntu\n")
    with pytest.raises(Unavailable, match=r"no source for Debian bookworm main; pass --mirror URL"):
        find_mirror("bookworm", "main")


def test_no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match=r"apt, .* is missing; pass --mirror URL, .* --from DIR"):
        find_mirror("bookworm", "main")


def test_a_file_of_a_package(tmp_path: Path) -> None:
    deb = tmp_path / make_deb(tmp_path, "tool_1_amd64.deb", b"odd").pool_path
    assert read_member(deb, "./bin/tool") == b"odd"
    with pytest.raises(Error, match=rf"{deb}: cannot read ./bin/other"):
        read_member(deb, "./bin/other")
    deb.write_bytes(deb.read_bytes()[:200])
    with pytest.raises(Error, match=rf"{deb}: cannot read ./bin/tool"):
        read_member(deb, "./bin/tool")
