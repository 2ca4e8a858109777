"""Fetching a target's wheels into an empty store, beside one pip that downloads the same set."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, compare, seconds
from vllm_nix.fetching.sources import this_system
from vllm_nix.locks.pylock import read_lock
from vllm_nix.locks.requirements import load_requirements


def rows() -> Iterator[Row]:
    system = this_system()
    lock = read_lock(load_requirements("cpu").lock_file(system))
    size = sum(wheel.size or 0 for wheel in lock.wheels)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requirements = folder / "requirements.txt"
        requirements.write_text(
            "".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in lock.wheels)
        )

        def ours() -> float:
            shutil.rmtree(folder / "store", ignore_errors=True)
            store = folder / "store"
            variables = {
                "NIX_STORE_DIR": store / "store",
                "NIX_STATE_DIR": store / "state",
                "NIX_LOG_DIR": store / "log",
                "NIX_REMOTE": "local",
                "NIX_CONFIG": "build-users-group =",
                "XDG_CACHE_HOME": folder / "cache",
                "PIP_NO_CACHE_DIR": "1",
            }
            command = [sys.executable, "-m", "vllm_nix", "fetch", "cpu", "--base", "nixpkgs"]
            return seconds(["env", *(f"{k}={v}" for k, v in variables.items()), *command])

        def theirs() -> float:
            shutil.rmtree(folder / "wheels", ignore_errors=True)
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir"]
            command += ["--no-deps", "--require-hashes", f"--requirement={requirements}"]
            return seconds([*command, "--dest", folder / "wheels"])

        yield compare(
            f"`fetch cpu` ({len(lock.wheels)} wheels, {size / 1e6:.0f} MB)",
            ours,
            "`pip download` of the same wheels",
            theirs,
        )
