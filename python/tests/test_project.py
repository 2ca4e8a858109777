"""The project file says some things twice, for tools that read only one table."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import vllm_nix

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())


def as_poetry(requirements: list[str]) -> dict[str, str]:
    parsed = map(Requirement, requirements)
    return {requirement.name: str(requirement.specifier) or "*" for requirement in parsed}


def test_poetry_installs_what_pip_installs() -> None:
    project, poetry = PROJECT["project"], PROJECT["tool"]["poetry"]
    assert (poetry["name"], poetry["version"]) == (project["name"], project["version"])
    assert poetry["dependencies"] == {
        "python": project["requires-python"],
        **as_poetry(project["dependencies"]),
    }
    assert poetry["group"]["dev"]["dependencies"] == as_poetry(
        project["optional-dependencies"]["dev"]
    )


def test_the_module_has_the_projects_version() -> None:
    assert vllm_nix.__version__ == PROJECT["project"]["version"]


def test_the_module_offers_what_it_names() -> None:
    assert all(callable(getattr(vllm_nix, name)) for name in vllm_nix.__all__)


def test_what_it_does_not_offer_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="module 'vllm_nix' has no attribute 'verfy'"):
        _ = vllm_nix.verfy
