import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[2]

# Hypothesis would call a busy machine a fault.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "long", settings.get_profile("any machine"), max_examples=2_000
)  # pytest --hypothesis-profile=long
settings.load_profile("any machine")


@pytest.fixture
def nix() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one Nix command at the root of the checkout, without a network."""
    if not shutil.which("nix"):
        pytest.skip("Nix is not installed; `make setup` installs it")
    options = ["--option", "experimental-features", "nix-command flakes"]
    options += ["--option", "substituters", ""]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command[0], *options, *command[1:]],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def private_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Nix store of the test's own, and an empty cache; returns the store's folder."""
    if not shutil.which("nix-store"):
        pytest.skip("Nix is not installed; `make setup` installs it")
    nix = tmp_path / "nix"
    for name, folder in (("STORE_DIR", "store"), ("STATE_DIR", "var"), ("LOG_DIR", "log")):
        monkeypatch.setenv(f"NIX_{name}", str(nix / folder))
    monkeypatch.setenv("NIX_REMOTE", "local")
    monkeypatch.setenv("NIX_CONFIG", "build-users-group =\nsubstituters =")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return nix / "store"


@pytest.fixture
def quiet_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip without the configuration of this machine."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "1")
