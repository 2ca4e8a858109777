"""`jetson_7` as a whole, emulated: assembled from wheels for aarch64, imported, and judged for Orin by both rules.

Needs `vllm-nix fetch --system aarch64-linux debian jetson_7`. From nothing about an hour.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EMBEDDED, ROOT, Nix, emulated

pytestmark = [pytest.mark.nix, pytest.mark.slow, emulated]


def build(nix: Nix, folder: Path, form: str = "") -> Path:
    link = folder / "result"
    nix(
        *("nix", "build", f".#packages.aarch64-linux.vllm-jetson_7{form}", "--out-link", str(link)),
        *("--option", "extra-platforms", "aarch64-linux", *EMBEDDED),
    )
    return link


@pytest.fixture(scope="module")
def environment(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(nix, tmp_path_factory.mktemp("build"))


def report(*words: str | Path) -> dict[str, object]:
    command = [ROOT / "tests/arm-cpu.sh", sys.executable, "-m", "vllm_nix", *words, "--json"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.stdout, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


def is_good(environment: Path) -> None:
    checks = report("verify", environment, "--timeout", "1500")["checks"]
    assert isinstance(checks, list)
    by_name = {check["id"]: check for check in checks}
    assert [check for check in checks if check["status"] in ("failed", "warning")] == []
    for name in ("machine", "elf", "gpu-code", "ptx", "attention", "imports", "nccl"):
        assert by_name[name]["status"] == "ok", name


def test_nothing_is_wrong_with_it(environment: Path) -> None:
    is_good(environment)


@pytest.mark.parametrize(("form", "most"), [(".slim", 6.0), (".slim.unfree", 4.8)])
def test_nor_with_a_slim_one(nix: Nix, tmp_path: Path, form: str, most: float) -> None:
    """`most` is the closure's size in GB."""
    environment = build(nix, tmp_path, form)
    is_good(environment)
    [(_, size)] = [nix("nix", "path-info", "-S", str(environment)).stdout.split()]
    assert int(size) <= most * 1e9
    libraries = report("archs", environment, "--for", "a6000")["libraries"]
    assert isinstance(libraries, list)
    torch = next(one for one in libraries if Path(one["path"]).name == "libtorch_cuda.so")
    assert torch["why"].startswith("slimmed for 8.7")


@pytest.mark.parametrize(("jetpack", "foreign"), [("7.2", "compatible"), ("6.2", "missing")])
def test_each_library_says_what_orin_does_with_it(
    environment: Path, jetpack: str, foreign: str
) -> None:
    """`foreign` is code for 8.0 and 8.6: from JetPack 7.2 on Orin runs it; before, its own alone."""
    libraries = report("archs", environment, "--for", "orin", "--jetpack", jetpack)["libraries"]
    assert isinstance(libraries, list)
    fatbins = {Path(library["path"]).name: library["verdicts"] for library in libraries}
    assert list(fatbins["libtorch_cuda.so"]) == [foreign]
    assert list(fatbins["_vllm_fa2_C.abi3.so"]) == [foreign]
    assert set(fatbins["_C_stable_libtorch.abi3.so"]) == {foreign, "native", "not-applicable"}
    assert list(fatbins["libcudnn_adv.so.9"]) == ["native"]
    assert "jit" in fatbins["libcufft.so.12"]
    unusable = [library["path"] for library in libraries if library["verdict"] == "missing"]
    assert bool(unusable) == (jetpack == "6.2")
