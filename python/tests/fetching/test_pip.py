"""What pip is asked and what it says; source archives, which must not be built to be downloaded."""

import io
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from registry import digest, write_index

from vllm_nix.data import TARGETS
from vllm_nix.errors import Error
from vllm_nix.fetching.fetch import fetch
from vllm_nix.fetching.pip import download_sdists
from vllm_nix.fetching.sources import PipSource, SdistSource, Sources, WheelSource, load_sources
from vllm_nix.since_311 import tomllib

PEP517 = '[build-system]\nrequires = ["torch"]\nbuild-backend = "setuptools.build_meta"\n'


@pytest.fixture
def make_sdist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SdistSource]:
    """Makes an archive that cannot be built, the only one in the index that pip knows."""

    def make(name: str, pyproject: str | None = PEP517) -> SdistSource:
        stem = f"{name.replace('-', '_')}-1.0.post1"
        members = {
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.post1\n",
            "setup.py": "raise SystemExit('this archive was built')\n",
            **({"pyproject.toml": pyproject} if pyproject else {}),
        }
        file = tmp_path / f"{stem}.tar.gz"
        with tarfile.open(file, "w:gz") as archive:
            for member, text in members.items():
                info = tarfile.TarInfo(f"{stem}/{member}")
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
        monkeypatch.setenv("PIP_INDEX_URL", write_index(tmp_path / "index", [file]))
        return SdistSource(
            file=file.name,
            sha256=digest(file),
            size=file.stat().st_size,
            name=name,
            version="1.0.post1",
            python="3.11",
        )

    return make


@pytest.mark.nix
@pytest.mark.usefixtures("private_store", "quiet_pip")
@pytest.mark.parametrize("pyproject", [PEP517, None])
def test_an_archive_arrives_in_the_store_unbuilt(
    make_sdist: Callable[..., SdistSource], pyproject: str | None
) -> None:
    sdist = make_sdist("two-words", pyproject)
    fetch(Sources((sdist,)))
    assert digest(sdist.path) == sdist.sha256


@pytest.mark.usefixtures("quiet_pip")
def test_an_archive_with_a_wrong_hash(
    make_sdist: Callable[..., SdistSource], tmp_path: Path
) -> None:
    wrong = replace(make_sdist("one"), sha256="0" * 64)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(Error, match=r"served a wrong one-1.0.post1.tar.gz: sha256 \w+ instead"):
        download_sdists([wrong], folder, threading.Event())
    assert not list(folder.glob("*.tar.gz"))


def test_the_set_of_vllm_needs_nothing_else() -> None:
    sources = load_sources(["vllm-sources"], "x86_64-linux")
    assert all(isinstance(source, PipSource) for source in sources.files)
    assert not sources.executables


def test_a_target_needs_the_sources_of_what_it_makes() -> None:
    files = {source.file for source in load_sources(["ascend"], "aarch64-linux", "nixpkgs").files}
    assert {
        "vllm-0.7.3.tar.gz",
        "vllm_ascend-0.7.3.post1.tar.gz",
        "fire-0.7.0.tar.gz",
        "rouge_score-0.1.2.tar.gz",
    } == {file for file in files if not file.endswith(".whl")}


def test_a_target_with_cutlass_needs_the_wheel_that_has_it() -> None:
    [wheel] = [
        source
        for source in load_sources(["jetson"], "aarch64-linux", "nixpkgs").files
        if "cutlass" in source.file
    ]
    assert wheel.file == "nvidia_cutlass-3.7.0.0-py3-none-any.whl"
    assert isinstance(wheel, WheelSource)


def test_every_release_that_a_target_may_name_has_its_source() -> None:
    named = tomllib.loads((TARGETS / "rules.toml").read_text())["torch-of"]["vllm"]
    files = {source.file for source in load_sources(["vllm-sources"]).files}
    assert {f"vllm-{release}.tar.gz" for release in named} <= files


@pytest.mark.nix
@pytest.mark.network
@pytest.mark.usefixtures("private_store")
def test_the_smallest_archive_of_the_registry() -> None:
    smallest = min(load_sources(["vllm-sources"]).files, key=lambda source: source.size or 0)
    assert fetch(Sources((smallest,))).size == smallest.size
    assert digest(smallest.path) == smallest.sha256
