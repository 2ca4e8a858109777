"""`make setup` on machines that lack something: one line that says what, and the way out."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

ABSENT = "absent"


def setup(tmp_path: Path, *programs: str, **replaced: str) -> subprocess.CompletedProcess[str]:
    """Runs nix/setup.sh where there are only these programs, some replaced by a script."""
    for name in ("sh", "dirname", *programs):
        found = shutil.which(name)
        if not found:
            pytest.skip(f"{name} is not on this machine")
        (tmp_path / name).symlink_to(found)
    for name, script in {"git": "exit 9", **replaced}.items():
        if script == ABSENT:
            continue
        (tmp_path / name).write_text(f"#!{shutil.which('sh')}\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return subprocess.run(
        [ROOT / "nix/setup.sh"],
        check=False,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "NIX_CONF_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )


def test_make_alone_installs_nothing() -> None:
    said = subprocess.run(
        ["make"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
    ).stdout
    assert said.startswith("make help: this list\nmake demo: from nothing to a vLLM that answers\n")


def test_no_nix_and_no_apt(tmp_path: Path) -> None:
    result = setup(tmp_path, python3="exit 0")
    assert result.returncode == 3
    assert result.stderr == (
        "setup: missing: nix-bin nix-setup-systemd. Install Nix (https://nixos.org/download), "
        "Python 3.11 or newer and git, then try again\n"
    )


def test_no_nix_and_not_root(tmp_path: Path) -> None:
    result = setup(tmp_path, **{"apt-get": "exit 9"}, id="echo 1000", python3="exit 0")
    assert result.returncode == 3
    assert result.stderr == (
        "setup: missing: nix-bin nix-setup-systemd. As root: "
        "apt-get install nix-bin nix-setup-systemd\n"
    )


def test_a_system_whose_python_is_too_old(tmp_path: Path) -> None:
    result = setup(
        tmp_path,
        **{"apt-get": "exit 0"},
        id="echo 0",
        nix="exit 0",
        python3='[ "$1" = --version ] && echo Python 3.10.12 || exit 1',
    )
    assert result.returncode == 3
    assert result.stderr.splitlines()[1:] == [
        "setup: Python 3.10.12 is the newest here. Put 3.11 or newer on PATH as python3, then try again"
    ]


def test_a_nix_without_flakes(tmp_path: Path) -> None:
    result = setup(
        tmp_path, nix='[ "$1" = --version ] && echo nix 2.3.16 || exit 1', python3="exit 0"
    )
    assert result.returncode == 3
    assert result.stderr == (
        f"setup: {tmp_path}/nix has no flakes: nix 2.3.16. Install Nix 2.8 or newer\n"
    )


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    error = "error: getting status of /nix/var/nix/daemon-socket/socket: Permission denied"
    result = setup(tmp_path, nix=f"echo '{error}' >&2; exit 1", id="echo ada", python3="exit 0")
    assert result.returncode == 3
    assert result.stderr == (
        "setup: Nix's daemon does not answer ada: getting status of "
        "/nix/var/nix/daemon-socket/socket: Permission denied. As root: adduser ada nix-users; "
        "systemctl start nix-daemon. Then log in again\n"
    )


def test_a_checkout_without_git(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a checkout")
    result = setup(
        tmp_path,
        **{"apt-get": "exit 9"},
        id="echo 1000",
        nix="exit 0",
        python3="exit 0",
        git=ABSENT,
    )
    assert result.returncode == 3
    assert result.stderr == "setup: missing: git. As root: apt-get install git\n"
