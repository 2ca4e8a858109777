"""The library as a package: it has the data that it reads."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import vllm_nix
from tests.conftest import EMBEDDED, Nix, said
from vllm_nix import load_target
from vllm_nix.fetching.sources import load_sources

pytestmark = pytest.mark.nix


def test_the_package_has_the_targets_and_the_locks(
    nix: Nix, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("build") / "result"
    nix("nix", "build", ".#vllm-nix", "--out-link", str(link), *EMBEDDED)
    command = link / "bin/vllm-nix"

    def run(*arguments: str) -> str:
        return subprocess.run(
            [command, *arguments], check=True, capture_output=True, text=True, cwd="/"
        ).stdout

    assert json.loads(run("params", "cpu", "--format", "json")) == load_target("cpu").parameters()
    # The parts of the base have data in folders of their own; python/tests/test_packaging.py has all sets.
    for name in ("cpu", "debian-cuda12", "debian-cuda12-libraries"):
        listed = json.loads(run("fetch", name, "--list", "--system", "x86_64-linux", "--json"))
        assert {file["path"] for file in listed["files"]} >= {
            str(source.path) for source in load_sources([name], "x86_64-linux").files
        }
    assert run("--version") == f"vllm-nix {vllm_nix.__version__}\n"
    for shell, place in {
        "bash": "bash-completion/completions/vllm-nix",
        "fish": "fish/vendor_completions.d/vllm-nix.fish",
        "zsh": "zsh/site-functions/_vllm-nix",
    }.items():
        assert (link / "share" / place).read_text() == run("completion", shell)
    [page] = link.glob("share/man/man1/vllm-nix.1*")  # nixpkgs compresses it
    assert page.stat().st_size > 2000
    assert list(link.glob("lib/python3*/site-packages/vllm_nix-*.dist-info/licenses/LICENSE"))


def test_a_library_is_read_without_python(nix: Nix) -> None:
    """And what is not that simple by Python."""
    base = "import ./nix/debian { overlays = [ (import ./overlays) ]; }"
    command = nix.build(f"({base}).vllmPackages.vllm-nix") / "bin/vllm-nix"
    cuda = nix.build(f"({base}).cudaPackages.cuda_cudart")
    script = command.with_name(".vllm-nix")
    [library, *_] = cuda.rglob("libcudart.so.*")
    no_python = {"PYTHONHOME": "/nowhere"}
    assert said(command, "archs", library, env=no_python) == said(script, "archs", library)
    for words in (["--json", library], [cuda], [library, library]):
        assert said(command, "archs", *words) == said(script, "archs", *words)


def test_what_slims_wheels_reads_a_folder(nix: Nix, tmp_path: Path) -> None:
    """A part of the library, without what only some of its functions would import."""
    packages = "(import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages"
    slim = nix.build(f"{packages}.vllm-nix.slim") / "bin/vllm-nix"
    result = subprocess.run(
        [slim, "slim", tmp_path, "--for", "a6000"], check=False, capture_output=True, text=True
    )
    assert result.stderr == f"vllm-nix: {tmp_path}: no shared library with GPU code\n"


@pytest.mark.slow
def test_the_librarys_tests_pass_in_the_sandbox(nix: Nix) -> None:
    """What `nix flake check` builds; make test has the others of `checks`."""
    system = f"{os.uname().machine}-linux"
    nix("nix", "build", f".#checks.{system}.library", "--no-link", *EMBEDDED)
