"""A wheel made from source: its name is known beforehand, its metadata without a build."""

import zipfile
from pathlib import Path

import pytest

from tests.conftest import Nix

pytestmark = pytest.mark.nix


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "answer.py").write_text("answer = 42\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "the-answer"\nversion = "1.0"\ndependencies = ["question<2"]\n'
    )
    return folder


def built(project: Path, attribute: str = "", version: str = "1.0") -> str:
    return f"""
        with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }};
        (vllmPackages.buildWheel {{
          pname = "the-answer";
          version = "{version}";
          src = {project};
          build-system = with python311.pkgs; [ setuptools wheel ];
        }}){attribute}"""


def test_the_wheel_and_its_metadata_alone(nix: Nix, project: Path) -> None:
    wheel = zipfile.ZipFile(nix.build(built(project)))
    metadata = zipfile.ZipFile(nix.build(built(project, ".metadata")))
    name = "the_answer-1.0.dist-info/METADATA"
    assert "Requires-Dist: question<2\n" in metadata.read(name).decode()
    assert metadata.read(name) == wheel.read(name)
    assert "answer.py" in wheel.namelist()
    assert "answer.py" not in metadata.namelist()


def test_another_version_than_was_said_is_refused(nix: Nix, project: Path) -> None:
    assert "built the_answer-1.0-py3-none-any.whl, not the_answer-2.0" in nix.fail(
        built(project, version="2.0")
    )
