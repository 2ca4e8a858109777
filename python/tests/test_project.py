"""The project file, and the module's own interface, which docs/api.md describes."""

import ast
import doctest
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from packaging.requirements import Requirement
from verification.environments import healthy

import vllm_nix
from vllm_nix.since_311 import tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
API = ROOT / "docs/api.md"
SOURCE = Path(vllm_nix.__file__).parent


def as_poetry(requirements: list[str]) -> dict[str, str]:
    """Without what older Pythons alone want: the shell has one of its own."""
    return {
        one.name: str(one.specifier) or "*"
        for one in map(Requirement, requirements)
        if not one.marker or one.marker.evaluate({"python_version": "3.11"})
    }


def test_poetry_installs_what_pip_installs() -> None:
    """The project file says it twice, for tools that read only one table."""
    project, poetry = PROJECT["project"], PROJECT["tool"]["poetry"]
    assert poetry["name"] == project["name"]
    assert poetry["dependencies"] == {
        "python": ">=3.11",
        **as_poetry(project["dependencies"]),
    }
    assert poetry["group"]["dev"]["dependencies"] == as_poetry(
        project["optional-dependencies"]["dev"]
    )


def test_the_version_is_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"] | PROJECT["tool"]["poetry"]


def test_the_module_offers_what_it_names() -> None:
    for name in vllm_nix.__all__:
        offered = getattr(vllm_nix, name)
        assert offered.__doc__, name
        for part, value in vars(offered).items() if isinstance(offered, type) else ():
            if not part.startswith("_") and isinstance(value, FunctionType | property):
                assert value.__doc__, f"{name}.{part}"
    assert {*vllm_nix.__all__} <= {*dir(vllm_nix)}
    assert len({*vllm_nix.__all__}) == len(vllm_nix.__all__) == len(vllm_nix._MODULES)


def test_what_it_does_not_offer_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="module 'vllm_nix' has no attribute 'verfy'"):
        _ = vllm_nix.verfy


def imported(file: Path) -> set[str]:
    """The rooms of vllm_nix that a file imports from, and the names of the package's own."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = (name.split(".") for name in names if name.partition(".")[0] == "vllm_nix")
    return {name[1] if len(name) > 1 else "vllm_nix" for name in ours}


@pytest.mark.skipif(not API.is_file(), reason="the documents are in the repository only")
def test_nothing_imports_upwards() -> None:
    """By the floors in docs/design.md, from the ground up, which are all that there are."""
    design = (ROOT / "docs/design.md").read_text()
    rows = design.partition("and in Python")[2].split("\n\n")[1].splitlines()
    floors = [row.strip().partition("  ")[0].split() for row in rows]
    floor = {room: number for number, rooms in enumerate(floors) for room in rooms}
    files = {file for file in SOURCE.rglob("*.py") if "data" not in file.parts}
    rooms = {file: file.relative_to(SOURCE).parts[0].removesuffix(".py") for file in files}
    assert {*rooms.values(), "data"} - {"__init__", "__main__"} == set(floor)
    top = len(floors)  # of the package itself, which offers what is below
    for file in files - {SOURCE / "__init__.py", SOURCE / "__main__.py"}:
        above = {name for name in imported(file) if floor.get(name, top) > floor[rooms[file]]}
        assert not above, f"{file.relative_to(SOURCE)} imports from {above}"
    for folder in filter(Path.is_dir, (ROOT / "nix").glob("[!.]*")):  # mypy leaves its cache there
        assert f"nix/{folder.name}/" in design


def test_importing_it_imports_nothing_else() -> None:
    program = "import sys, vllm_nix; dir(vllm_nix); "
    program += "print(*(name for name in sys.modules if name.startswith('vllm_nix')))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["vllm_nix"]


def test_what_is_loaded_is_short_to_show_and_goes_into_sets() -> None:
    for one in (vllm_nix.load_target("cuda"), vllm_nix.load_profile("cuda", "chat")):
        assert len(repr(one)) < 120
        assert one in {one}


@pytest.mark.skipif(not API.is_file(), reason="the documents are in the repository only")
def test_the_examples_of_the_interface(tmp_path: Path) -> None:
    environment = healthy(tmp_path / "environment").root
    failures, tried = doctest.testfile(
        str(API),
        module_relative=False,
        globs={"environment": environment},
        optionflags=doctest.ELLIPSIS,
    )
    assert tried > 10
    assert not failures


@pytest.mark.skipif(not API.is_file(), reason="the documents are in the repository only")
@pytest.mark.parametrize("name", vllm_nix.__all__)
def test_every_stable_name_is_described(name: str) -> None:
    assert f"`{name}" in API.read_text() or f"`vllm_nix.{name}" in API.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": None}, "path: expected a path, got None (NoneType)"),
        ({"target": 3}, "target: expected a string or None, got 3 (int)"),
        ({"device": 8.7}, "device: expected a string or None, got 8.7 (float)"),
        ({"cuda": 12.6}, "cuda: expected a string or None, got 12.6 (float)"),
        ({"jetpack": 6}, "jetpack: expected a string or None, got 6 (int)"),
        ({"only": "record"}, "only: expected a list of check ids, got 'record' (str)"),
        ({"skip": [None]}, "skip: expected a list of check ids, got None (NoneType)"),
        ({"skip": 1}, "skip: expected a list of check ids, got 1 (int)"),
        ({"limit": "9"}, "limit: expected a number of seconds, got '9' (str)"),
        ({"limit": True}, "limit: expected a number of seconds, got True (bool)"),
        ({"progress": None}, "progress: expected a function, got None (NoneType)"),
    ],
)
def test_an_argument_of_a_wrong_type(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(vllm_nix.InputTypeError) as caught:
        vllm_nix.verify(**{"path": "/nowhere", **arguments})
    assert str(caught.value) == f"verify: {message}"
    assert isinstance(caught.value, (vllm_nix.InputError, TypeError))


@pytest.mark.parametrize("limit", [-1, 0, float("nan"), float("inf")])
def test_a_limit_that_is_none(limit: float) -> None:
    with pytest.raises(vllm_nix.InputError, match=f"limit: {limit} is not between 0 and"):
        vllm_nix.verify("/nowhere", limit=limit)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: vllm_nix.load_target(8.7),  # type: ignore[arg-type]
            "load_target: name: expected a string, got 8.7 (float)",
        ),
        (
            lambda: vllm_nix.profile_names(None),  # type: ignore[arg-type]
            "load_target: name: expected a string, got None (NoneType)",
        ),
        (
            lambda: vllm_nix.load_profile("cpu", ["chat"]),  # type: ignore[arg-type]
            "load_profile: name: expected a string, got ['chat'] (list)",
        ),
        (
            lambda: vllm_nix.load_profile("cpu", "chat", ["port"]),  # type: ignore[arg-type]
            "load_profile: overrides: expected a mapping, got ['port'] (list)",
        ),
        (
            lambda: vllm_nix.load_profile("cpu", "chat", {1: 2}),  # type: ignore[dict-item]
            "load_profile: overrides: expected keys that are strings, got 1 (int)",
        ),
        (
            lambda: vllm_nix.load_profile("cpu", "chat", release=0.32),  # type: ignore[arg-type]
            "load_profile: release: expected a string or None, got 0.32 (float)",
        ),
        (
            lambda: vllm_nix.load_profile("cpu", "chat").command("--enforce-eager"),
            "Profile.command: arguments: expected a list of strings, got '--enforce-eager' (str)",
        ),
        (
            lambda: vllm_nix.load_profile("cpu", "chat").command([3]),  # type: ignore[list-item]
            "Profile.command: arguments: expected a list of strings, got 3 (int)",
        ),
    ],
)
def test_another_argument_of_a_wrong_type(call: Callable[[], object], message: str) -> None:
    with pytest.raises(vllm_nix.InputTypeError) as caught:
        call()
    assert str(caught.value) == message


def test_a_release_that_is_none() -> None:
    with pytest.raises(vllm_nix.InputError, match="release: 'newest' is not a release, such as"):
        vllm_nix.load_profile("cpu", "chat", release="newest")


def test_probes_run_on_the_pythons_of_old_releases() -> None:
    """vLLM 0.6 is for 3.8, which cannot evaluate `list[str]`."""
    for file in (SOURCE / "verification/probes").glob("*.py"):
        tree = ast.parse(file.read_text(), feature_version=(3, 8))
        annotated = re.search(r"(->|:) (dict|list|tuple)\[", file.read_text())
        futures = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert not annotated or futures[0].module == "__future__", file
        assert ".readlink()" not in file.read_text(), file
